"""A fleet whose people go home, and take some of it along."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from ..running import Run
from .host import Host
from .lab import Lab
from .routes import CLUSTER

DONE = "changes made"


@dataclass
class Fleet:
    lab: Lab
    hosts: list[Host]
    inventory: str

    def deploy(self, *options: str) -> Run:
        return self.lab.deploy(self.inventory, *options)

    @property
    def names(self) -> list[str]:
        return [host.name for host in self.hosts]


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Fleet:
    """Three workstations: the second one is Anna's, the third goes first."""
    hosts = lab.boot("desk-1", "desk-2", "desk-3")
    groups = {"workstations": hosts, "anna": hosts[1:2], "canary": hosts[2:]}
    return Fleet(lab, hosts, str(lab.inventory(groups, routes=CLUSTER)))


def summary(run: Run) -> list[str]:
    return re.findall(r"^    homeport: (.*)$", run.output, re.MULTILINE)


def outcomes(run: Run, fleet: Fleet) -> list[str]:
    return [re.sub(r"^\d+ ", "", run.of(name)[0]) for name in fleet.names]


def test_a_host_that_is_asleep_is_named_and_does_not_stop_the_others(fleet: Fleet) -> None:
    fleet.hosts[1].cut()
    run = fleet.deploy()
    fleet.hosts[1].heal()
    assert run.status == 1
    assert outcomes(run, fleet)[::2] == [DONE, DONE]
    assert run.of("desk-2")[0].startswith("not reached: ")
    assert summary(run) == [
        "2 of 3 hosts are as they should be",
        "not reached, asleep or away: desk-2",
        "these alone, when they are back or mended: the same command with --limit desk-2",
    ]


def test_all_of_them_are_asleep(fleet: Fleet) -> None:
    for host in fleet.hosts[:2]:
        host.cut()
    run = fleet.deploy("--limit", "desk-1", "--limit", "desk-2")
    for host in fleet.hosts[:2]:
        host.heal()
    assert run.status == 1
    assert summary(run)[:2] == [
        "0 of 2 hosts are as they should be",
        "not reached, asleep or away: desk-1, desk-2",
    ]


def test_the_next_run_catches_up(fleet: Fleet) -> None:
    run = fleet.deploy()
    assert run.status == 0, run.output
    assert outcomes(run, fleet) == ["no changes", DONE, "no changes"]
    assert summary(run) == ["3 of 3 hosts are as they should be"]


def delete_scripts(fleet: Fleet) -> None:
    for host in fleet.hosts:
        host.run("rm .homeport/bin/use-anthropic.sh", user="anna")


@pytest.mark.parametrize("limit", ["desk-2", "anna"])
def test_a_limit_is_a_host_or_whose_it_is(fleet: Fleet, limit: str) -> None:
    delete_scripts(fleet)
    run = fleet.deploy("--limit", limit)
    assert run.status == 0, run.output
    assert run.of("desk-2")[0] == "1 change made"
    assert run.of("desk-1") == run.of("desk-3") == []
    assert summary(run) == []
    assert outcomes(fleet.deploy(), fleet)[1] == "no changes"


def unreadable_settings(host: Host) -> None:
    host.write("/home/anna/.claude/settings.json", "{ not JSON", "anna")


def good_settings(host: Host) -> None:
    host.write("/home/anna/.claude/settings.json", "{}", "anna")


def test_a_canary_that_fails_keeps_the_others_as_they_are(fleet: Fleet) -> None:
    delete_scripts(fleet)
    unreadable_settings(fleet.hosts[2])
    before = [host.tree() for host in fleet.hosts]
    run = fleet.deploy("--serial")
    assert run.status == 1
    held = "desk-3, which goes first (group canary), failed; nothing was done here"
    assert held in run.of("desk-1") and held in run.of("desk-2")
    assert [host.tree() for host in fleet.hosts] == before


def test_a_canary_that_is_asleep_does_so_too(fleet: Fleet) -> None:
    fleet.hosts[2].cut()
    run = fleet.deploy("--serial")
    fleet.hosts[2].heal()
    held = "desk-3, which goes first (group canary), was not reached; nothing was done here"
    assert held in run.of("desk-1") and held in run.of("desk-2")


def test_a_canary_that_is_well_goes_first(fleet: Fleet) -> None:
    good_settings(fleet.hosts[2])
    run = fleet.deploy("--serial")
    assert run.status == 0, run.output
    written = re.findall(r"\[(desk-\d)\] Success", run.output)
    assert written[0] == "desk-3"
    assert sorted(written, key=lambda name: (name != "desk-3", name)) == written
    assert summary(run) == ["3 of 3 hosts are as they should be"]


def test_the_canary_by_itself_and_then_the_others(fleet: Fleet) -> None:
    """The two commands of the README, of which the second is typed only if the first went well."""
    delete_scripts(fleet)
    assert fleet.deploy("--limit", "canary").of("desk-3")[0] == "1 change made"
    run: Any = fleet.deploy()
    assert [run.of(name)[0] for name in fleet.names] == [
        "1 change made",
        "1 change made",
        "no changes",
    ]
