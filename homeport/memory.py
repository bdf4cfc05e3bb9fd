"""What fits a laptop: which quant and which context, by its memory. Pure.

Bytes throughout; "GB" in a sentence is 10^9 of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from .doctor.limits import LARGE_UNIFIED, LARGE_UNIFIED_SHARE, RAM_SHARE, UNIFIED_SHARE
from .errors import SettingsError

#: Bytes of an element of a q8_0 cache: blocks of 32 have a scale of two bytes (ggml-common.h).
_Q8_0 = 34 / 32

#: Tokens that llama.cpp computes at a time (its --ubatch-size), and to a multiple of which it
#: rounds a cache up.
_UBATCH = 512
_CACHE_STEP = 256

#: The share of the memory that a model may take. The rest is for the system, a browser and an
#: editor: 7 GB of 16, 10 GB of 24. Below what Metal lets a GPU have, see `UNIFIED_SHARE`.
_SHARE = 0.58

#: The share of a graphics card's: its display and other programs have the rest.
_CARD_SHARE = 0.9

#: Prompts that are kept beside the running one: a 32nd of the memory, a GiB at most. llama.cpp's
#: own default of 8 GiB is half of a 16 GB laptop.
_PROMPTS, _MOST_PROMPTS = 1 / 32, 2**30

#: Points of a conversation to which it can be taken back, where layers keep a window only: each is
#: a copy of these layers, in the machine's memory. llama.cpp's own default is 32 of them.
CHECKPOINTS = 4


class Kind(StrEnum):
    """Whose memory it is."""

    UNIFIED = "unified memory"  # CPU and GPU share it: Apple silicon
    CARD = "graphics memory"
    RAM = "memory, without a GPU"


@dataclass(frozen=True)
class Memory:
    """The memory that a model would be in: `total` bytes, of which other models have `taken` some.
    `ram` is the machine's own."""

    kind: Kind
    total: int
    ram: int
    taken: int = 0

    def without(self, choice: Choice) -> Memory:
        """What `choice` leaves of it."""
        same = choice.memory.kind is self.kind
        return replace(self, taken=self.taken + choice.needed) if same else self

    @property
    def budget(self) -> int:
        """Bytes for the model, so that the machine stays pleasant."""
        share = _CARD_SHARE if self.kind is Kind.CARD else _SHARE
        return int(self.total * share) - self.taken

    @property
    def limit(self) -> int:
        """Bytes above which it does not work at all: what the user pins is held against that."""
        share = {Kind.CARD: 1, Kind.RAM: RAM_SHARE}.get(self.kind, UNIFIED_SHARE)
        if self.kind is Kind.UNIFIED and self.total >= LARGE_UNIFIED:
            share = LARGE_UNIFIED_SHARE
        return int(self.total * share) - self.taken

    @property
    def prompts(self) -> int:
        """Bytes, of the machine's own memory, for prompts that are kept."""
        return min(int(self.ram * _PROMPTS), _MOST_PROMPTS)

    def __str__(self) -> str:
        return f"{gb(self.total)} ({self.total / 2**30:.3g} GiB) {self.kind}"


@dataclass(frozen=True)
class Layers:
    """`count` layers of attention, each of which keeps `width` elements, keys and values together,
    for every token, or for the last `window` only."""

    count: int
    width: int
    window: int | None = None


@dataclass(frozen=True)
class Footprint:
    """What a model takes beside its weights: the cache of its `layers`, and bytes of `buffers`."""

    layers: tuple[Layers, ...]
    buffers: int

    def cache(self, context: int) -> int:
        """Bytes of a q8_0 cache of `context` tokens for one conversation at a time (llama.cpp's
        llama_kv_cache_iswa)."""
        elements = 0
        for layers in self.layers:
            tokens = min(_padded(layers.window + _UBATCH), context) if layers.window else context
            elements += layers.count * layers.width * tokens
        return int(elements * _Q8_0)

    @property
    def checkpoints(self) -> int:
        """Bytes of the points to which a conversation can be taken back."""
        windows = [one.count * one.width * one.window for one in self.layers if one.window]
        return int(CHECKPOINTS * sum(windows) * _Q8_0)


@dataclass(frozen=True)
class Quant:
    """A size in which a model is to be had: its `name`, the bytes of its `file`, a glob pattern."""

    name: str
    size: int
    file: str


@dataclass(frozen=True)
class Choice:
    """What a machine serves: `quant` with a cache for `context` tokens, in `memory`."""

    quant: Quant
    context: int
    memory: Memory
    footprint: Footprint

    @property
    def needed(self) -> int:
        return self.quant.size + self.cache + self.rest

    @property
    def cache(self) -> int:
        return self.footprint.cache(self.context)

    @property
    def rest(self) -> int:
        """Buffers, and what is kept of prompts, where that shares the memory."""
        kept = self.memory.prompts + self.footprint.checkpoints
        return self.footprint.buffers + (0 if self.memory.kind is Kind.CARD else kept)

    @property
    def fits(self) -> bool:
        return self.needed <= self.memory.budget

    @property
    def works(self) -> bool:
        return self.needed <= self.memory.limit

    def __str__(self) -> str:
        """The arithmetic: "25.8 GB (24 GiB) unified memory: Q6_K 9.79 GB + KV ... -> fits, ..."."""
        sum_ = (
            f"{self.memory}: {self.quant.name} {gb(self.quant.size)} + KV {gb(self.cache)} at "
            f"{self.context:,} tokens + buffers {gb(self.rest)}"
        )
        if self.fits:
            free = self.memory.total - self.memory.taken - self.needed
            return f"{sum_} -> fits, {gb(free)} free"
        return f"{sum_} -> {self.over(self.memory.budget)} with others beside it"

    def over(self, bound: int) -> str:
        return f"{gb(self.needed)}, and {gb(max(bound, 0))} are for the model"


def best(
    quants: Iterable[Quant],
    contexts: tuple[int, ...],
    footprint: Footprint,
    memories: Iterable[Memory],
) -> Choice | None:
    """The largest of `quants` that fits with the smallest of `contexts` into the first of
    `memories` that has room for any; None where nothing fits.

    Where that is the largest there is, the rest buys context: the largest that fits with it.
    """
    by_size = sorted(quants, key=lambda quant: quant.size)
    for memory in memories:
        fitting = [
            one
            for quant in by_size
            if (one := Choice(quant, min(contexts), memory, footprint)).fits
        ]
        if not fitting:
            continue
        if fitting[-1].quant == by_size[-1]:
            roomy = [Choice(by_size[-1], context, memory, footprint) for context in contexts]
            return max((one for one in roomy if one.fits), key=lambda one: one.context)
        return fitting[-1]
    return None


def pinned(
    quant: Quant, contexts: tuple[int, ...], footprint: Footprint, memories: tuple[Memory, ...]
) -> Choice:
    """The `quant` that the user wants, with the smallest of `contexts`, where it fits, else where
    it works; raises `SettingsError` where it would not even do that."""
    tried = [Choice(quant, min(contexts), memory, footprint) for memory in memories]
    for one in (*(one for one in tried if one.fits), *(one for one in tried if one.works)):
        return one
    raise SettingsError(
        "quant",
        quant.name,
        f"it does not fit {tried[-1].memory}: {tried[-1].over(tried[-1].memory.limit)} at the most",
        "Write a smaller one, or None to have one chosen",
    )


def gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def whole_gib(size: int) -> int:
    """The next number of whole GiB, in bytes."""
    return -(-size // 2**30) * 2**30


def _padded(tokens: int) -> int:
    return -(-tokens // _CACHE_STEP) * _CACHE_STEP
