"""How a model is served: on GPUs, whatever the engine, and on laptops. Pure.

The catalog says what is known to work for a model; `serving` in group_data/gpu_hosts.py changes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from .errors import Kinds, SettingsError, check_keys
from .memory import Footprint, Quant

#: What a user may change of a recipe, and its type.
RECIPE_KEYS: dict[str, Kinds] = {
    "tensor_parallel_size": int,
    "pipeline_parallel_size": int,
    "tool_call_parser": (str, type(None)),
    "reasoning_parser": (str, type(None)),
    "kv_cache_dtype": str,
    "speculative_tokens": int,
    "prefix_caching": bool,
    "max_num_batched_tokens": (int, type(None)),
    "max_num_seqs": (int, type(None)),
    "gpu_memory_utilization": float,
}


@dataclass(frozen=True)
class LaptopRecipe:
    """How laptops serve it, by llama.cpp, of which `build` is the oldest that loads it.

    It is to be had in `quants`; which one, and which of the `contexts`, is for each machine's
    memory to say, as it takes that `footprint` besides. Without quants there is nothing to choose.
    Without `tools` the model is too small to call any.
    """

    build: int
    quants: tuple[Quant, ...] = ()
    contexts: tuple[int, ...] = ()
    footprint: Footprint | None = None
    tools: bool = True

    def quant(self, name: str) -> Quant:
        """The quant of that name; raises `SettingsError`."""
        for quant in self.quants:
            if quant.name == name:
                return quant
        known = [quant.name for quant in self.quants]
        close = get_close_matches(name.upper(), known, n=1)
        fix = f"Did you mean {close[0]!r}?" if close else f"Known are {', '.join(known) or 'none'}"
        raise SettingsError("quant", name, "the model is not to be had in it", fix)


@dataclass(frozen=True)
class Recipe:
    """What a server of the model is told beside its name, weights and context.

    The model is split over `tensor_parallel_size` GPUs of one host, times `pipeline_parallel_size`
    hosts. `gpu_memory` is what the model wants over all GPUs together, in bytes, with a context of
    `context` tokens (0: it runs without GPUs), `kv_per_token` what each further token costs on
    every GPU, in bytes. `speculative_tokens` are guessed by the model's own MTP layers.
    None leaves a thing to the engine's own default.
    """

    tensor_parallel_size: int
    gpu_memory: int
    context: int
    kv_per_token: int = 0
    pipeline_parallel_size: int = 1
    tool_call_parser: str | None = None
    reasoning_parser: str | None = None
    kv_cache_dtype: str = "auto"
    speculative_tokens: int = 0
    prefix_caching: bool = True
    max_num_batched_tokens: int | None = None
    max_num_seqs: int | None = None
    gpu_memory_utilization: float = 0.9

    def __post_init__(self) -> None:
        for name in ("tensor_parallel_size", "pipeline_parallel_size"):
            if getattr(self, name) < 1:
                raise SettingsError(
                    name, getattr(self, name), "a model needs one at least", "Write 1 or more"
                )
        for name in ("max_num_batched_tokens", "max_num_seqs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(name, value, "nothing could be served", "Write 1 or more")
        if self.speculative_tokens < 0:
            raise SettingsError(
                "speculative_tokens", self.speculative_tokens, "it is a number of tokens",
                "Write 0 to have none guessed",
            )  # fmt: skip
        if not 0.1 <= self.gpu_memory_utilization <= 0.99:
            raise SettingsError(
                "gpu_memory_utilization",
                self.gpu_memory_utilization,
                "it is the share of a GPU's memory that the server takes",
                "Write 0.1 to 0.99, e.g. 0.9",
            )

    @property
    def gpus(self) -> int:
        """All GPUs of one replica."""
        return self.tensor_parallel_size * self.pipeline_parallel_size

    def needed(self, context: int) -> int:
        """Bytes over all GPUs with `context` tokens."""
        return self.gpu_memory + max(context - self.context, 0) * self.kv_per_token * self.gpus

    def changed(self, values: Mapping[str, Any]) -> Recipe:
        """With the user's `values`; raises `SettingsError`."""
        given: dict[str, Any] = {
            key: float(value) if key == "gpu_memory_utilization" and value == 1 else value
            for key, value in values.items()
        }
        check_keys(given, RECIPE_KEYS, ())
        return replace(self, **given)
