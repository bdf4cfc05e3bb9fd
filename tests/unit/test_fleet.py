"""Who goes first, and what a run over many hosts came to."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State

from homeport import fleet


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> State:
    """Four hosts, of which a laptop goes first; nobody is asleep, and nothing has failed."""
    monkeypatch.setattr(sys, "argv", ["pyinfra", "--serial"])
    names: tuple[list[str], dict[str, Any]] = (
        [f"@fake/{name}" for name in ("one", "two", "first", "mirror")],
        {},
    )
    groups: dict[str, Any] = {"canary": (["@fake/first"], {}), "mirror": (["@fake/mirror"], {})}
    state = State(Inventory(names, **groups), Config())
    hosts = set(state.inventory)
    state.activated_hosts, state.active_hosts = set(hosts), set(hosts)
    state.is_executing = True
    return state


def host(state: State, name: str) -> fleet.Host:
    found = state.inventory.get_host(f"@fake/{name}")
    assert found
    return found


def test_the_mirror_first_then_canaries(state: State) -> None:
    names = [one.name.removeprefix("@fake/") for one in fleet.in_order(state.inventory)]
    assert names == ["mirror", "first", "one", "two"]


@pytest.mark.parametrize("asleep", [True, False])
def test_a_canary_holds_the_others_back_but_not_the_mirror(state: State, asleep: bool) -> None:
    assert fleet.held_back(state, host(state, "one")) is None
    (state.activated_hosts.remove if asleep else state.failed_hosts.add)(host(state, "first"))
    what = "was not reached" if asleep else "failed"
    assert fleet.held_back(state, host(state, "one")) == (
        f"@fake/first, which goes first (group canary), {what}; nothing was done here"
    )
    assert fleet.held_back(state, host(state, "mirror")) is None
    assert fleet.held_back(state, host(state, "first")) is None


def test_side_by_side_nobody_goes_first(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pyinfra"])
    state.failed_hosts.add(host(state, "first"))
    assert fleet.held_back(state, host(state, "one")) is None


def test_the_summary(state: State) -> None:
    assert fleet.summary(state, {}) == ["4 of 4 hosts are as they should be"]
    state.failed_hosts.add(host(state, "one"))
    state.activated_hosts.remove(host(state, "two"))
    together = {"@fake/two": ("@fake/two", "@fake/three")}
    assert fleet.summary(state, together) == [
        "2 of 4 hosts are as they should be",
        "not finished, their lines are above: @fake/one",
        "not reached, asleep or away: @fake/two",
        "these alone, when they are back or mended: the same command with --limit @fake/one "
        "--limit @fake/two --limit @fake/three",
    ]
    state.is_executing = False
    assert fleet.summary(state, {}) == [], "it was looked at, and nothing was to be done"
