"""The lab: real hosts for a test module, with pyinfra as a user runs it. See README.md here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..conftest import missing
from . import lab as labs
from .calls import refusals
from .gpu import Cluster, cluster_on
from .lab import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Hosts for the tests of one module; they are gone after the last of them."""
    if obstacle := labs.obstacle():
        missing(obstacle)
    with labs.opened() as lab:
        yield lab


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Iterator[Cluster]:
    """What GPU hosts of that lab need; before its first host is made."""
    with cluster_on(lab) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def nothing_that_a_mac_lacks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test in which a Mac of the lab, or Homebrew on Linux, was asked what none would
    understand."""
    yield
    if "lab" in request.fixturenames:
        for host in request.getfixturevalue("lab").hosts.values():
            assert refusals(host.root) == []
