"""What a server counts, as it says on /metrics: each engine, and each of its versions, in names of
its own. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Optional

from .wanted import LLAMA_CPP, SGLANG, VLLM


@dataclass(frozen=True)
class Load:
    """How busy a server is, at one moment: requests that are `running` and `waiting`, the share of
    its cache that is in use, and since it was started the tokens that were looked for in its prefix
    cache (`asked`) and found (`hits`), and the requests that were `preempted`; `longest` is
    the most tokens that it ever held of one conversation. None where it does not say."""

    running: Optional[float] = None
    waiting: Optional[float] = None
    cache_use: Optional[float] = None
    asked: Optional[float] = None
    hits: Optional[float] = None
    preempted: Optional[float] = None
    longest: Optional[float] = None

    @property
    def is_at_work(self) -> bool:
        return bool(self.running or self.waiting)


#: The names of each, the newest first. Several series of one name, such as of several replicas in
#: one server, are added up; of the cache the fullest counts.
_NAMES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    VLLM: {
        "running": ("vllm:num_requests_running",),
        "waiting": ("vllm:num_requests_waiting",),
        "cache_use": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),  # until 0.15
        "asked": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
        "hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
        "preempted": ("vllm:num_preemptions_total",),
    },
    SGLANG: {
        "running": ("sglang:num_running_reqs",),
        "waiting": ("sglang:num_queue_reqs",),
        "cache_use": ("sglang:token_usage",),
        "asked": ("sglang:prompt_tokens_total",),
        "hits": ("sglang:cached_tokens_total",),
        "preempted": ("sglang:num_retracted_requests_total",),
    },
    LLAMA_CPP: {
        "running": ("llamacpp:requests_processing",),
        "waiting": ("llamacpp:requests_deferred",),
        "cache_use": ("llamacpp:kv_cache_usage_ratio",),  # until b5740
        # Those that were not cached are counted apart.
        "asked": ("llamacpp:prompt_tokens_total",),
        "hits": ("llamacpp:prompt_tokens_cached_total",),
        "longest": ("llamacpp:n_tokens_max",),
    },
}

_SERIES = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{[^}]*\})?\s+(\S+)", re.MULTILINE)


def load(engine: str, text: str) -> Load:
    """What `text`, the answer of /metrics, says."""
    series: dict[str, list[float]] = {}
    for name, value in _SERIES.findall(text):
        try:
            series.setdefault(name, []).append(float(value))
        except ValueError:
            continue
    found: dict[str, float] = {}
    for what, names in _NAMES.get(engine, {}).items():
        values = next((series[name] for name in names if name in series), None)
        if values:
            found[what] = max(values) if what == "cache_use" else sum(values)
    if engine == LLAMA_CPP and "asked" in found and "hits" in found:
        found["asked"] += found["hits"]
    if engine == SGLANG and "asked" in found:
        found.setdefault("hits", 0)  # a series without a value is not there
    return Load(**found)
