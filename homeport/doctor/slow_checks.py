"""The servers that this machine runs: what makes one slow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from .answers import BETWEEN, FULL
from .metrics import Load
from .servers import Seen
from .table import SLOW, Check, Unknown, Values, known
from .trials import Trials
from .wanted import LLAMA_CPP, ROUTER, SGLANG, VLLM

#: How many full contexts a prefix cache was looked for before what is counted says something, and
#: the share that is then too few hits: each turn but a conversation's first finds nearly all of it.
_CONTEXTS, _FEW = 4, 0.05

#: Bytes of a server that may be swapped out: what it does not use of its libraries.
_SWAPPED = 256 * 2**20

#: What each engine is told to have its prefix cache off.
_CACHE_OFF = {
    VLLM: ("--no-enable-prefix-caching",),
    SGLANG: ("--disable-radix-cache",),
    LLAMA_CPP: ("--no-cache-prompt",),
}

_MISSED = (
    "its prefix cache misses: its cache is too small for the conversation, its model has layers of "
    "a sliding window without a saved state, or each request begins in another way"
)
_DEPLOY = "run the deploy again, it starts the server as it should be"
_HASH = "hash $http_x_claude_code_session_id consistent, in nginx's words"


def tried(seen: Seen) -> Trials:
    """Those of one that answers; one that does not has another finding, and one that was not tried
    says why where it is healthy."""
    if seen.answers is None or seen.answers.tries is None:
        return Trials(0, 1, "")
    return seen.answers.tries


def _answers_late(seen: Seen) -> Iterator[Values]:
    took = tried(seen).took
    if isinstance(took, Unknown) and "within" in took.why:
        found = {"detail": took.why}
        if seen.service.engine != LLAMA_CPP:
            found["cause"] = "its GPUs are slow or shared, or its engine hangs"
            found["fix"] = "nvidia-smi; read %s, then: %s" % (seen.service.logs, seen.service.start)
        yield found
    else:
        known(took)


def _cache_off(seen: Seen) -> Iterator[Values]:
    off = _off(seen)
    if off:
        yield {"option": off}


def _off(seen: Seen) -> str:
    """The option by which its prefix cache is off against what was deployed."""
    if seen.answers is None or not seen.service.prefix_caching:
        return ""
    options = seen.options if seen.service.engine != ROUTER else {}
    return next((one for one in _CACHE_OFF.get(seen.service.engine, ()) if one in options), "")


def _cache_missed(seen: Seen) -> Iterator[Values]:
    if seen.answers is None or not seen.service.prefix_caching:
        return
    hits, counted = tried(seen).hits, _counted(seen)
    if isinstance(hits, Unknown) or seen.answers.untried:
        if counted is None and seen.answers.load.is_at_work:
            return  # nobody can tell yet
        hits = hits if counted is None else int(counted)
    if known(hits) <= 0 and not _off(seen):
        yield {"cause": _MISSED} if seen.service.engine == LLAMA_CPP else {}


def _counted(seen: Seen) -> Optional[bool]:
    """Whether its prefix cache hits by what it counts since it was started, None where that says
    nothing yet."""
    load = seen.answers.load if seen.answers else Load()
    if load.hits is None or (load.asked or 0) < _CONTEXTS * seen.service.context:
        return None
    return load.hits > _FEW * (load.asked or 0)


def _several_addresses(seen: Seen) -> Iterator[Values]:
    if len(seen.addresses) > 1:
        yield {"detail": ", ".join(seen.addresses), "url": seen.service.url}


def _scattered(seen: Seen) -> Iterator[Values]:
    if seen.service.replicas > 1 and known(tried(seen).scattered):
        yield {"url": seen.service.url}


def _loads(seen: Seen) -> tuple[Load, ...]:
    return seen.answers.loads if seen.answers else ()


def _cache_full(seen: Seen) -> Iterator[Values]:
    shares = [one.cache_use for one in _loads(seen)]
    if len(shares) > 1 and all(share is not None and share > FULL for share in shares):
        share = "%d %%" % (100 * min(share or 0 for share in shares))
        yield {"share": share, "seconds": _seconds(seen)}


def _waiting(seen: Seen) -> Iterator[Values]:
    if seen.service.engine == LLAMA_CPP:
        return  # it has one place, where its user's requests wait for each other
    waiting = [one.waiting for one in _loads(seen)]
    if len(waiting) > 1 and all(waiting):
        least = "%d" % min(number or 0 for number in waiting)
        yield {"waiting": least, "seconds": _seconds(seen)}


def _seconds(seen: Seen) -> str:
    """How long its loads were looked at."""
    return str((len(_loads(seen)) - 1) * BETWEEN)


def _preempted(seen: Seen) -> Iterator[Values]:
    counts = [one.preempted for one in _loads(seen) if one.preempted is not None]
    if counts and counts[-1] > counts[0]:
        yield {"count": "%d" % (counts[-1] - counts[0]), "seconds": _seconds(seen)}


def _swapped(seen: Seen) -> Iterator[Values]:
    found = sum(one.swapped or 0 for one in seen.tree)
    if found > _SWAPPED:
        yield {"size": "%.1f GB" % (found / 1e9)}


def _too_large(seen: Seen) -> Iterator[Values]:
    service = seen.service
    if service.needs and not service.gpus and seen.memory and service.needs > seen.memory:
        yield {"needs": "%.1f GB" % (service.needs / 1e9), "has": "%.1f GB" % (seen.memory / 1e9)}


CHECKS: tuple[Check[Seen], ...] = (
    Check(
        "answers-late",
        SLOW,
        symptom="{alias} has nothing else to do, and does not answer one token in time",
        cause="the model is too large for this machine, or other programs are at work on it",
        fix="set a smaller quant in group_data/laptops.py and deploy, or see: top",
        source="a request of one token",
        find=_answers_late,
        warning=True,
    ),
    Check(
        "prefix-cache-off",
        SLOW,
        symptom="{alias} computes each conversation anew at every turn",
        cause="it was started with {option}",
        fix=_DEPLOY,
        source="its command line",
        find=_cache_off,
    ),
    Check(
        "prefix-cache-missed",
        SLOW,
        symptom="{alias} computes each conversation anew at every turn",
        cause="its prefix cache misses, though no option has it off: its cache is too small, or "
        "each request begins in another way",
        fix="read {logs} for why, then: {start}; with --deep it is tried again",
        source="two requests with the same beginning; else what it counts since its start",
        find=_cache_missed,
    ),
    Check(
        "replicas-by-name",
        SLOW,
        symptom="{url} leads to several replicas, whichever a client picks",
        cause="requests of one session go to several replicas: each computes its conversation anew",
        fix="put a proxy in front that keeps a session on one: %s" % _HASH,
        source="getaddrinfo(3) of the route's host",
        find=_several_addresses,
        warning=True,
    ),
    Check(
        "replicas-scattered",
        SLOW,
        symptom="{url} sends one session to several replicas",
        cause="requests of one session go to several replicas: each computes its conversation anew",
        fix="have the proxy in front keep a session on one: %s" % _HASH,
        source="three requests of one session with the same beginning",
        find=_scattered,
    ),
    Check(
        "cache-full",
        SLOW,
        symptom="{alias} has {share} of its KV cache in use, for {seconds} s",
        cause="more conversations at once than its cache holds",
        fix="add a replica, or set a smaller context or a larger gpu_memory_utilization",
        source="/metrics: vllm:kv_cache_usage_perc (vllm:gpu_cache_usage_perc until 0.15), "
        "sglang:token_usage, llamacpp:kv_cache_usage_ratio",
        find=_cache_full,
        warning=True,
    ),
    Check(
        "requests-wait",
        SLOW,
        symptom="{waiting} requests wait for {alias}, for {seconds} s",
        cause="more requests at once than it computes together",
        fix="add a replica, or set a larger max_num_seqs where its cache has room",
        source="/metrics: vllm:num_requests_waiting, sglang:num_queue_reqs",
        find=_waiting,
        warning=True,
    ),
    Check(
        "requests-preempted",
        SLOW,
        symptom="{alias} put off {count} requests within {seconds} s that it had begun",
        cause="more conversations at once than its cache holds",
        fix="set a smaller max_num_seqs, or a larger gpu_memory_utilization, or add a replica",
        source="/metrics: vllm:num_preemptions_total, sglang:num_retracted_requests_total",
        find=_preempted,
        warning=True,
    ),
    Check(
        "server-swapped",
        SLOW,
        symptom="{size} of {alias} are swapped out to the disk",
        cause="the machine has too little memory for the model and the other programs",
        fix="end other programs, or set a smaller quant and deploy; then: {start}",
        source="proc(5), VmSwap",
        find=_swapped,
        warning=True,
    ),
    Check(
        "larger-than-memory",
        SLOW,
        symptom="{alias} needs {needs}, and the machine has {has} for models",
        cause="model and context are larger than what the machine's memory has for them",
        fix="set quant = None in group_data/laptops.py to have one chosen that fits, and deploy",
        source="homeport/memory.py; /proc/meminfo, sysctl hw.memsize",
        find=_too_large,
    ),
)
