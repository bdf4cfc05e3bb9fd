"""What can be wrong with a route whose server answers: names, speed, tools and context."""

from __future__ import annotations

from collections.abc import Iterator

from ..remote import explain
from .limits import (
    COMPACTION_MARGIN,
    FIRST_REQUEST,
    FIRST_REQUEST_SIMPLE,
    LARGEST_OUTPUT,
    WORK_CONTEXT,
)
from .names import closest, difference
from .reach_checks import DEPLOY
from .reached import Reached
from .table import CONTEXT, NAMES, SLOW, TOOLS, CannotTell, Check, Values, known
from .wanted import LLAMA_CPP, SGLANG

#: Tokens of an answer below which the highest efforts leave little beside the thinking: in
#: Anthropic's example of extended thinking 10,000 of 16,000 are for that.
THOUGHTFUL_OUTPUT = 16_000
THOUGHTFUL = ("xhigh", "max")

PATIENCE = ("API_TIMEOUT_MS", "CLAUDE_STREAM_IDLE_TIMEOUT_MS")


# Names


def alias_unknown(seen: Reached) -> Iterator[Values]:
    served = known(seen.models)
    if seen.route.served:
        return  # the servers' checks say it
    if seen.alias not in served and not closest(seen.alias, served):
        yield {"asked": seen.alias, "served": ", ".join(served) or "nothing"}


def alias_similar(seen: Reached) -> Iterator[Values]:
    served = known(seen.models)
    if seen.route.served:
        return
    other = "" if seen.alias in served else closest(seen.alias, served)
    if other:
        yield {"asked": seen.alias, "served": other, "detail": difference(seen.alias, other)}


def tier_unset(seen: Reached) -> Iterator[Values]:
    names = [name for name in explain.MODELS if not seen.get(name)]
    if names:
        yield {"names": ", ".join(names), "asked": seen.alias}


def tier_not_served(seen: Reached) -> Iterator[Values]:
    served = known(seen.models)
    for name in explain.MODELS[1:]:
        asked = explain.bare(seen.get(name))
        if asked and asked not in (*served, seen.alias, "inherit"):
            other = closest(asked, served)
            more = {"detail": difference(asked, other)} if other else {}
            yield {"name": name, "asked": asked, "served": ", ".join(served), **more}


# How it works


def attribution(seen: Reached) -> Iterator[Values]:
    if seen.get("CLAUDE_CODE_ATTRIBUTION_HEADER") == "0":
        return
    served = known(seen.models).get(seen.alias)
    engine = (served and served.engine) or seen.route.engine
    if not engine:
        raise CannotTell("its server does not say which engine it is")
    if engine in (LLAMA_CPP, SGLANG):
        yield {}


def web_search(seen: Reached) -> Iterator[Values]:
    for source in known(seen.session).sources:
        permissions = source.settings.get("permissions")
        denied = permissions.get("deny") if isinstance(permissions, dict) else None
        if isinstance(denied, list) and "WebSearch" in denied:
            return
    yield {}


def thinking(seen: Reached) -> Iterator[Values]:
    effort = seen.get("CLAUDE_CODE_EFFORT_LEVEL")
    if effort in THOUGHTFUL and seen.output < THOUGHTFUL_OUTPUT:
        yield {"effort": effort, "output": "%d" % seen.output}


def effort_unset(seen: Reached) -> Iterator[Values]:
    if seen.route.effort and not seen.get("CLAUDE_CODE_EFFORT_LEVEL"):
        yield {"effort": seen.route.effort}


def too_small(seen: Reached) -> Iterator[Values]:
    window = seen.tokens("CLAUDE_CODE_MAX_CONTEXT_TOKENS")
    if window and window < WORK_CONTEXT and not seen.simple:
        yield {"window": "%d" % window}


def impatient(seen: Reached) -> Iterator[Values]:
    names = [name for name in PATIENCE if not seen.get(name)]
    if names:
        yield {"detail": "%s unset" % " and ".join(names)}


# The context


def window_too_large(seen: Reached) -> Iterator[Values]:
    window = seen.tokens("CLAUDE_CODE_MAX_CONTEXT_TOKENS")
    served = known(seen.models).get(seen.alias)
    if window and served and served.context and window > served.context:
        yield {"window": "%d" % window, "held": "%d" % served.context}


def output_too_large(seen: Reached) -> Iterator[Values]:
    if seen.output > LARGEST_OUTPUT:
        yield {"output": "%d" % seen.output}


def overflows(seen: Reached) -> Iterator[Values]:
    window = seen.tokens("CLAUDE_CODE_MAX_CONTEXT_TOKENS")
    need = FIRST_REQUEST_SIMPLE if seen.simple else FIRST_REQUEST + COMPACTION_MARGIN
    # A window that is too small for the full client is a finding of its own.
    small = window and window < WORK_CONTEXT and not seen.simple
    if window and not small and seen.output <= LARGEST_OUTPUT and need + seen.output > window:
        yield {"output": "%d" % seen.output, "window": "%d" % window, "most": str(window - need)}


CHECKS: tuple[Check[Reached], ...] = (
    # Names
    Check(
        "alias-similar",
        NAMES,
        symptom='"{asked}" is asked for, and "{served}" is served',
        cause="the two names are not the same, character by character",
        fix="write it the same in both places, copied and not typed, and deploy again",
        source="vLLM answers 404 to any other name; llama.cpp answers all",
        find=alias_similar,
    ),
    Check(
        "alias-unknown",
        NAMES,
        symptom='"{asked}" is asked for, and not served; served: {served}',
        cause="the server at this port serves another model",
        fix="check host, port and alias of the route, then deploy server and this machine again",
        source="vLLM answers 404 to any other name; llama.cpp answers all",
        find=alias_unknown,
    ),
    Check(
        "tier-unset",
        NAMES,
        symptom="background calls ask for models of Anthropic's: {names} unset",
        cause="a tier without a model goes out under Anthropic's own id, and gets a 404",
        fix="set each to {asked} in {file}; or " + DEPLOY,
        source="measured, Claude Code 2.1.330",
        find=tier_unset,
    ),
    Check(
        "tier-not-served",
        NAMES,
        symptom='{name} is "{asked}", which the server does not serve',
        cause="background calls of that tier get a 404",
        fix="set it to one of {served} in {file}; or " + DEPLOY,
        source="measured, Claude Code 2.1.330",
        find=tier_not_served,
    ),
    # Speed
    Check(
        "attribution",
        SLOW,
        symptom="each conversation of {alias} starts from nothing",
        cause="the client's attribution header is on: it is another one each time, and this engine "
        "does not strip it, so that its prefix cache finds nothing",
        fix='set "CLAUDE_CODE_ATTRIBUTION_HEADER": "0" in env of {file}; or ' + DEPLOY,
        source="measured, 2.1.330: llama.cpp 0 instead of 9,531 of 11,913 tokens; vLLM >= 0.18 "
        "strips it",
        find=attribution,
    ),
    # Tools
    Check(
        "web-search",
        TOOLS,
        symptom="{alias} is offered WebSearch, which then fails",
        cause="Anthropic's servers run that tool, and no other server does",
        fix='add "WebSearch" to permissions.deny in ~/.claude/settings.json; or ' + DEPLOY,
        source="measured, Claude Code 2.1.330",
        find=web_search,
        warning=True,
    ),
    Check(
        "thinking",
        TOOLS,
        symptom="answers of {alias} may end in the middle: {output} tokens at effort {effort}",
        cause="thinking counts as output, and uses up the limit",
        fix="set effort of the route to high, or max_output to 20000 where its context has room, "
        "and deploy again",
        source="Anthropic, extended thinking: 10,000 of 16,000 tokens are for it",
        find=thinking,
        warning=True,
    ),
    Check(
        "effort-unset",
        TOOLS,
        symptom="{alias} is to think with effort {effort}, and is not told so",
        cause="CLAUDE_CODE_EFFORT_LEVEL is not set: the client then says high",
        fix='set "CLAUDE_CODE_EFFORT_LEVEL": "{effort}" in env of {file}; or ' + DEPLOY,
        source="measured, Claude Code 2.1.330",
        find=effort_unset,
        warning=True,
    ),
    Check(
        "model-too-small",
        TOOLS,
        symptom="{alias} holds {window} tokens, and gets the full client's task",
        cause="its tools and system prompt leave no room to work in: CLAUDE_CODE_SIMPLE is not set",
        fix='set "CLAUDE_CODE_SIMPLE": "1" in env of {file}; or ' + DEPLOY,
        source="measured, 2.1.330: the first request has 13,239 tokens, 65,536 is the smallest",
        find=too_small,
    ),
    Check(
        "impatient",
        TOOLS,
        symptom="long prompts of {alias} are broken off after five minutes",
        cause="a timeout is not set, and the client then gives up by itself",
        fix='set each to "1800000" in env of {file}; or ' + DEPLOY,
        source="measured, Claude Code 2.1.330",
        find=impatient,
        warning=True,
    ),
    # The context
    Check(
        "window-too-large",
        CONTEXT,
        symptom="the client takes {alias} for {window} tokens, and the server holds {held}",
        cause="the client compacts too late, and the server refuses long conversations",
        fix='set "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "{held}" in env of {file}; or have the server '
        "deployed again",
        source="max_model_len (vLLM, SGLang) or n_ctx (llama.cpp) of /v1/models",
        find=window_too_large,
    ),
    Check(
        "output-too-large",
        CONTEXT,
        symptom="an answer of {alias} may have {output} tokens",
        cause="above 20,000 the client starts to compact only when prompt and output pass its "
        "window",
        fix='set "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "20000" or less in env of {file}; or ' + DEPLOY,
        source="measured, 2.1.330: it compacts at window - min(output, 20,000) - 13,000",
        find=output_too_large,
    ),
    Check(
        "overflow",
        CONTEXT,
        symptom="a prompt and {output} tokens of output pass the window of {window}",
        cause="the output limit leaves no room for the client's first request",
        fix='set "CLAUDE_CODE_MAX_OUTPUT_TOKENS" to {most} or less in env of {file}; or ' + DEPLOY,
        source="measured, 2.1.330: a first request of 13,239 tokens (1,370 in simple mode), and "
        "13,000 kept free",
        find=overflows,
    ),
)
