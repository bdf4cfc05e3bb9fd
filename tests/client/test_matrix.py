"""docs/clients.md says what the pinned versions of Claude Code do with the real llama.cpp."""

from __future__ import annotations

import pytest

from homeport import claude_code

from ..conftest import client_versions
from . import matrix
from .matrix import Measured
from .scenarios import SCENARIOS


@pytest.fixture(scope="module")
def measured() -> Measured:
    return matrix.measured("llama.cpp")


def test_every_version_and_every_scenario_is_written_down() -> None:
    assert matrix.ENGINES["llama.cpp"].title in matrix.DOCUMENT.read_text()
    written = matrix.written("llama.cpp")
    assert list(written) == client_versions()
    assert all(list(cells) == list(SCENARIOS) for cells in written.values())


@pytest.mark.parametrize("version", client_versions())
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_is_written_is_what_is_measured(
    version: str, scenario: str, measured: Measured
) -> None:
    """Where this fails, look at what changed, and then: make matrix."""
    assert measured[version][scenario] == matrix.written("llama.cpp")[version][scenario]


def test_a_deploy_refuses_what_the_page_says() -> None:
    oldest = ".".join(map(str, claude_code.OLDEST_CLIENT))
    assert f"**A client has to be {oldest} or newer**" in matrix.DOCUMENT.read_text()
    compacts = {
        version: cells["compacts before the server overflows"] == "yes"
        for version, cells in matrix.written("llama.cpp").items()
    }
    assert compacts == {one: one >= oldest for one in client_versions()}
