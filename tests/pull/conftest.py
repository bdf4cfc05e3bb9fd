"""A Hub and a destination for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ..hub import Hub
from .puller import Puller


@pytest.fixture
def hub() -> Iterator[Hub]:
    """Weights come from its CDN. Nothing asks it for what no client has a reason for, and no token
    gets to the CDN."""
    with Hub(cdn=True, page_size=7) as hub:
        yield hub
        assert not hub.leaks
        assert not hub.unexpected


@pytest.fixture
def puller(tmp_path: Path) -> Puller:
    return Puller(tmp_path)
