"""A small and strict Hugging Face Hub with faults, for tests and benchmarks."""

from .faults import (
    Fault,
    Flip,
    Html,
    IgnoreRange,
    Reset,
    Stall,
    Status,
    Trickle,
    Truncate,
    WrongEtag,
    WrongRange,
)
from .messages import Request
from .repos import PinnedFile, Sparse
from .server import Hub

__all__ = [
    "Fault",
    "Flip",
    "Html",
    "Hub",
    "IgnoreRange",
    "PinnedFile",
    "Request",
    "Reset",
    "Sparse",
    "Stall",
    "Status",
    "Trickle",
    "Truncate",
    "WrongEtag",
    "WrongRange",
]
