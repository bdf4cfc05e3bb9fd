"""The servers that this machine runs: what one that answers does wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Callable

from . import refused_checks, servers, slow_checks
from .limits import FIRST_REQUEST, FIRST_REQUEST_SIMPLE, WORK_CONTEXT
from .names import closest, difference
from .servers import Seen
from .slow_checks import tried
from .table import CONTEXT, NAMES, TOOLS, WEIGHTS, Area, Check, Values, known
from .wanted import LLAMA_CPP, MIRROR, ROUTER, SGLANG, VLLM, Service

#: The build since which llama.cpp takes a model's own chat template without being told (PR 17524).
_JINJA = 7170

_DEPLOY = "run the deploy again, it starts the server as it should be"


# Names


def _other_name(seen: Seen) -> Iterator[Values]:
    if seen.answers is None:
        return
    for name in missing_names(seen):
        close = closest(name, seen.answers.names)
        if close:
            where = difference(name, close)
            yield {"served": repr(close), "wanted": name, "where": where}


def _no_such_name(seen: Seen) -> Iterator[Values]:
    if seen.answers is None:
        return
    for name in missing_names(seen):
        if not closest(name, seen.answers.names):
            yield {"served": ", ".join(seen.answers.names) or "nothing", "wanted": name}


def missing_names(seen: Seen) -> list[str]:
    """What it should serve and does not; a router, or a mirror, has no model of its own."""
    service, served = seen.service, seen.answers.names if seen.answers else ()
    own = () if service.engine in (ROUTER, MIRROR) else (service.alias,)
    return [name for name in (*own, *service.names) if name not in served]


# Context


def _context_smaller(seen: Seen) -> Iterator[Values]:
    held = seen.answers.context if seen.answers else None
    if held and held < seen.service.context:
        yield {"held": "{:,}".format(held), "told": "{:,}".format(seen.service.context)}


def _context_small(seen: Seen) -> Iterator[Values]:
    service = seen.service
    if service.engine in (ROUTER, MIRROR):
        return
    held = (seen.answers.context if seen.answers else None) or service.context
    need = FIRST_REQUEST_SIMPLE if service.simple else WORK_CONTEXT
    if held < need:
        first = FIRST_REQUEST_SIMPLE if service.simple else FIRST_REQUEST
        yield {"held": "{:,}".format(held), "first": "{:,}".format(first)}


# Tools


def _given(seen: Seen) -> Mapping[str, str]:
    """The options of a running server of GPU hosts' engines, {} for any other."""
    runs = bool(seen.tree) and seen.service.engine in (VLLM, SGLANG)
    return seen.options if runs else {}


def _no_auto_tool_choice(seen: Seen) -> Iterator[Values]:
    given = _given(seen)
    wanted = seen.service.tools and seen.service.tool_parser and seen.service.engine == VLLM
    if given and wanted and "--enable-auto-tool-choice" not in given:
        yield {}


def _parser(option: str, wanted: Callable[[Service], object]) -> Callable[[Seen], Iterator[Values]]:
    def find(seen: Seen) -> Iterator[Values]:
        given, right = _given(seen), wanted(seen.service)
        if given and right and given.get(option) != right:
            found = given.get(option)
            has = "%s %s" % (option, found) if found else "no %s" % option
            yield {"has": has, "right": str(right)}

    return find


def _no_template(seen: Seen) -> Iterator[Values]:
    if seen.service.engine != LLAMA_CPP or not seen.service.tools or not seen.is_up:
        return
    build, options = seen.build, seen.options
    if "--no-jinja" in options or ("--jinja" not in options and build and build < _JINJA):
        yield {}


def _old_build(seen: Seen) -> Iterator[Values]:
    build = seen.build
    if seen.is_up and build and build < seen.service.build:
        yield {"build": "b%d" % build, "needed": "b%d" % seen.service.build}


def _question_fails(seen: Seen) -> Iterator[Values]:
    if tried(seen).failed:
        yield {"said": tried(seen).failed}


def _late_system(seen: Seen) -> Iterator[Values]:
    refused = known(tried(seen).refused)
    if refused:
        yield {"detail": refused}


def _no_tool(seen: Seen) -> Iterator[Values]:
    why = known(tried(seen).tool) if seen.service.tools else ""
    if why:
        yield {"detail": why}


# Weights


def _old_revision(seen: Seen) -> Iterator[Values]:
    wanted, runs = seen.service.weights, servers.facts(seen).get("weights")
    if wanted and runs and not wanted.revision.startswith(runs):
        yield {"runs": runs, "right": wanted.revision[:12]}


CHECKS: tuple[Check[Seen], ...] = (
    Check(
        "name-similar",
        NAMES,
        symptom="{wanted} is served as {served}: {where}",
        cause="it was started with another name",
        fix=_DEPLOY,
        source="its answer to /v1/models",
        find=_other_name,
    ),
    Check(
        "name-missing",
        NAMES,
        symptom="{wanted} is not served, but {served}",
        cause="another model, or another program, was started on its port",
        fix=_DEPLOY,
        source="its answer to /v1/models",
        find=_no_such_name,
    ),
    Check(
        "context-smaller",
        CONTEXT,
        symptom="{alias} holds {held} tokens, and its clients are told {told}",
        cause="it was started with a smaller context than was deployed",
        fix=_DEPLOY,
        source="its answer to /v1/models, or to llama.cpp's /props",
        find=_context_smaller,
    ),
    Check(
        "context-small",
        CONTEXT,
        symptom="{alias} holds {held} tokens, of which the client's first request takes {first}",
        cause="the context is too small for the full client: little or nothing is left for work",
        fix="set a larger context for the model, or a smaller quant with one, and deploy",
        source="measured, Claude Code 2.1.330",
        find=_context_small,
    ),
    Check(
        "tools-not-chosen",
        TOOLS,
        symptom="{alias} answers a request that offers tools with an error, or in words",
        cause="it was started without --enable-auto-tool-choice",
        fix=_DEPLOY,
        source="its command line; vLLM, tool calling",
        find=_no_auto_tool_choice,
    ),
    Check(
        "tool-parser",
        TOOLS,
        symptom="{alias} ignores tools, or writes their calls into its answer",
        cause="it was started with {has}, where its model needs {right}",
        fix=_DEPLOY,
        source="its command line",
        find=_parser("--tool-call-parser", lambda one: one.tools and one.tool_parser),
    ),
    Check(
        "reasoning-parser",
        TOOLS,
        symptom="{alias} writes its thoughts into its answer, or stalls after them",
        cause="it was started with {has}, where its model needs {right}",
        fix=_DEPLOY,
        source="its command line",
        find=_parser("--reasoning-parser", lambda one: one.reasoning_parser),
    ),
    Check(
        "template-off",
        TOOLS,
        symptom="{alias} ignores tools",
        cause="it was started without --jinja, so without the model's own chat template",
        fix=_DEPLOY,
        source="its command line; llama.cpp before b7170 (PR 17524)",
        find=_no_template,
    ),
    Check(
        "build-old",
        TOOLS,
        symptom="{alias} runs on llama.cpp {build}, and its model needs {needed}",
        cause="this llama.cpp is too old for the model",
        fix="run the deploy again, or upgrade the llama-server of your own; then: {start}",
        source="llama.cpp's /props, build_info",
        find=_old_build,
    ),
    Check(
        "question-fails",
        TOOLS,
        symptom="{alias} lists its models, and answers a question with an error: {said}",
        cause="its chat template, or its engine, fails at the simplest request",
        fix="read {logs}; a template is set by chat_template in group_data/laptops.py",
        source="a request of one token",
        find=_question_fails,
    ),
    Check(
        "late-system",
        TOOLS,
        symptom="{alias} refuses each turn of a conversation after the first",
        cause="its chat template refuses a system message inside a conversation",
        fix="set chat_template in group_data/laptops.py to one that takes them, or vLLM 0.23 or "
        "newer, and deploy",
        source="a request as Claude Code sends them since 2.1.154",
        find=_late_system,
    ),
    Check(
        "tool-not-called",
        TOOLS,
        symptom="{alias} was offered a tool, and did not call it",
        cause="its tool parser does not fit the model, or the model is too small for tools",
        fix="set tool_call_parser in `serving`, or chat_template, or a larger quant, and deploy",
        source="a request with one tool (--deep only)",
        find=_no_tool,
    ),
    Check(
        "revision-old",
        WEIGHTS,
        symptom="{alias} serves revision {runs} of its weights, and not {right}",
        cause="it was not started again since its weights were pulled anew",
        fix="{start}; where that does not help, run the deploy again",
        source="its command line",
        find=_old_revision,
    ),
)


def healthy(seen: Seen) -> str:
    service, tries = seen.service, tried(seen)
    if not seen.is_up or service.engine in (ROUTER, MIRROR):
        return "%s runs" % service.alias if not seen.service.answers or seen.is_up else ""
    if seen.answers and seen.answers.untried:
        return "%s is up at %s (%s)" % (service.alias, service.url, seen.answers.untried)
    return "%s answers at %s in %.2f s" % (service.alias, service.url, known(tries.took))


def untried(seen: Seen) -> str:
    why = seen.answers.untried if seen.answers else ""
    return "%s was %s" % (seen.service.alias, why) if why else ""


AREA = Area(
    "servers",
    servers.look,
    refused_checks.CHECKS + CHECKS + slow_checks.CHECKS,
    healthy=healthy,
    untried=untried,
    facts=servers.facts,
)
