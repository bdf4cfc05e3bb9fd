"""What the doctor finds wrong with Claude Code itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from homeport.doctor.client import AREA

from .doctoring import ROUTE, WANTED, Machine, names

WANTS = replace(WANTED, client="2.1.330")
ROUTED = replace(WANTED, routes=(ROUTE,))
OWN = f"{WANTED.directory}/bin/claude"
ON_PATH = {"HOME": WANTED.home, "PATH": f"/opt/tools/bin:{WANTED.directory}/bin:/usr/bin"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def install(machine: Machine, path: str, version: str) -> None:
    machine.program(path, f'[ "$1" = --version ] && echo "{version} (Claude Code)"')


def test_where_homeport_leaves_it_alone(machine: Machine) -> None:
    assert machine.look(AREA, WANTED).is_healthy
    assert machine.look(AREA, ROUTED).is_healthy, "whoever has none has no use for it"
    install(machine, "/opt/tools/bin/claude", "2.1.328")
    assert machine.look(AREA, ROUTED, variables=ON_PATH).is_healthy


def test_one_that_is_too_old_for_its_routes(machine: Machine) -> None:
    path = f"{WANTED.home}/.local/bin/claude"
    install(machine, path, "2.1.100")
    (found,) = machine.look(AREA, ROUTED).findings
    assert (found.check, found.warning) == ("client-too-old", False)
    assert found.fix == "npm install --global --prefix ~/.local @anthropic-ai/claude-code@latest"
    machine.program(path, "exit 126")
    (found,) = machine.look(AREA, ROUTED).findings
    assert (found.check, found.fix.split()[0]) == ("client-broken", "npm")
    assert machine.look(AREA, WANTED).is_healthy, "it has no routes"


@pytest.mark.parametrize("version", ["2.1.330", "2.1.331", "2.2.0"])
def test_one_that_is_new_enough(machine: Machine, version: str) -> None:
    install(machine, OWN, version)
    report = machine.look(AREA, WANTS, variables=ON_PATH)
    assert report.is_healthy, report
    assert report.facts == {"": {"client": version}}


def test_none(machine: Machine) -> None:
    (found,) = machine.look(AREA, WANTS).findings
    assert (found.check, found.warning) == ("no-client", False)
    assert found.fix.endswith("--prefix ~/.local @anthropic-ai/claude-code@2.1.330")


def test_one_that_does_not_run(machine: Machine) -> None:
    machine.program(OWN, "echo cannot execute binary file >&2; exit 126")
    (found,) = machine.look(AREA, WANTS).findings
    assert (found.check, found.detail) == ("client-broken", "cannot execute binary file")


@pytest.mark.parametrize(
    ("version", "check", "warning"),
    [("2.1.327", "client-too-old", False), ("2.0.400", "client-too-old", False),
     ("2.1.328", "client-old", True), ("2.1.329", "client-old", True)],
)  # fmt: skip
def test_one_that_is_old(machine: Machine, version: str, check: str, warning: bool) -> None:
    install(machine, "/opt/tools/bin/claude", version)
    (found,) = machine.look(AREA, WANTS, variables=ON_PATH).findings
    assert (found.check, found.warning) == (check, warning)
    assert f"/opt/tools/bin/claude is Claude Code {version}" in found.symptom


@pytest.mark.parametrize("version", ["1.0.99", "2.1.329"])
def test_an_older_one_that_comes_first(machine: Machine, version: str) -> None:
    install(machine, OWN, "2.1.330")
    install(machine, "/opt/tools/bin/claude", version)
    (found,) = machine.look(AREA, WANTS, variables=ON_PATH).findings
    assert (found.check, found.warning) == ("another-client-first", True)
    assert found.symptom == (
        f"a typed claude is /opt/tools/bin/claude, Claude Code {version}, and not {OWN}"
    )
    install(machine, "/opt/tools/bin/claude", "2.1.340")
    assert machine.look(AREA, WANTS, variables=ON_PATH).is_healthy


@pytest.mark.parametrize(
    "place", [".local/bin", ".claude/local", ".nvm/versions/node/v22.11.0/bin", ".bun/bin"]
)
def test_where_the_path_is_not_known(machine: Machine, place: str) -> None:
    install(machine, f"{WANTED.home}/{place}/claude", "2.1.200")
    assert names(machine.look(AREA, WANTS)) == ["client-too-old"]
    # A shell of the user's finds this one first.
    install(machine, OWN, "2.1.330")
    report = machine.look(AREA, WANTS)
    assert report.is_healthy, report
    assert report.facts == {"": {"client": "2.1.330"}}


def test_what_upgrades_it(machine: Machine) -> None:
    package = "/usr/local/lib/node_modules/@anthropic-ai/claude-code/cli.js"
    install(machine, package, "2.1.328")
    link = machine.root / "usr/local/bin/claude"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("../lib/node_modules/@anthropic-ai/claude-code/cli.js")
    (found,) = machine.look(AREA, WANTS).findings
    prefix = f"{machine.root}/usr/local"
    assert f"npm install --global --prefix {prefix} @anthropic-ai/claude-code@2.1.330" in found.fix
    link.unlink()
    cask = "/opt/homebrew/Caskroom/claude-code@latest/2.1.328/claude"
    install(machine, cask, "2.1.328")
    link.symlink_to(f"{machine.root}{cask}")
    (found,) = machine.look(AREA, WANTS).findings
    assert "brew upgrade --cask claude-code@latest" in found.fix
    link.unlink()
    native = f"{WANTED.home}/.local/share/claude/versions/2.1.329"
    install(machine, native, "2.1.329")
    own = machine.root / WANTED.home.lstrip("/") / ".local/bin/claude"
    own.parent.mkdir(parents=True)
    own.symlink_to("../share/claude/versions/2.1.329")
    (found,) = machine.look(AREA, WANTS).findings
    assert found.fix.endswith("/.local/bin/claude install 2.1.330")
