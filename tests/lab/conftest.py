"""The lab: real hosts for a test module, with pyinfra as a user runs it. See README.md here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..conftest import missing
from . import lab as labs
from .lab import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Hosts for the tests of one module; they are gone after the last of them."""
    if obstacle := labs.obstacle():
        missing(obstacle)
    with labs.opened() as lab:
        yield lab
