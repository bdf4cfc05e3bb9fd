"""Claude Code itself, installed and upgraded by the real npm, from its registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from homeport.facts.host import EXTRA_PATH

from .. import conftest
from ..running import Run, Running, copy_project, wait_until
from .conftest import HOME_NAME, Machine

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="Homebrew would install it")

OLD, NEW = "2.1.328", "2.1.330"
PACKAGE = "lib/node_modules/@anthropic-ai/claude-code"
OWN = ".npm-global/bin/claude"

#: What some users tell npm, all of which could be in the way. Its settings of the whole system are
#: then those in elsewhere/etc/npmrc.
NPMRC = """prefix=${HOME}/elsewhere
ignore-scripts=true
engine-strict=true
omit=optional
"""


@dataclass
class Workstation(Machine):
    """One whose routes lead to a server that nobody runs."""

    def deploy(self, version: str = NEW, script: str = "deploy.py") -> Run:
        return self.start(version, script).wait()

    def remove(self) -> Run:
        return self.deploy(script="remove.py")

    def start(self, version: str = NEW, script: str = "deploy.py") -> Running:
        route = {"model": "glm-5.2-fp8", "host": "127.0.0.1", "port": self.port}
        data: dict[str, Any] = {"claude_code": version, "routes": {"claude-glm": route}}
        inventory = self.home.parent / "mine.py"
        inventory.write_text(f"workstations = [('@local', {data!r})]\n")
        pyinfra = str(Path(sys.executable).parent / "pyinfra")
        words = [*self.prefix, pyinfra, "-y", str(inventory), script]
        return Running(words, self.project, self.variables(), self.home.parent / "run.log")

    def sh(self, command: str) -> str:
        """What `command` prints in a new terminal."""
        return self.run("bash", "-i", "-c", command).output.strip().splitlines()[-1]

    def version(self, path: str) -> str:
        """What the Claude Code at `path` says of itself."""
        return self.sh(f'"$HOME/{path}" --version')

    def fake(self, path: str, version: str) -> Path:
        """A program at `path` that says it is a Claude Code of that version."""
        program = self.home / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\necho '{version} (Claude Code)'\n")
        program.chmod(0o755)
        return program

    def installed(self) -> list[str]:
        """What is in homeport's own place for it."""
        return sorted(path.name for path in (self.home / ".homeport/client").glob("*"))


@dataclass
class First:
    """A workstation, what was in its home, and its first run."""

    machine: Workstation
    before: dict[str, str]
    run: Run


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("project"))


def workstation(folder: Path, project: Path) -> Workstation:
    """One with npm and without Claude Code."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        conftest.missing("npm is not installed")
    if claude := shutil.which("claude", path=EXTRA_PATH):
        pytest.skip(f"{claude} is on every PATH of this machine")
    programs = folder / "programs"
    programs.mkdir()
    for program in (npm, node):
        (programs / Path(program).name).symlink_to(program)
    without = [one for one in os.environ["PATH"].split(":") if not Path(one, "claude").exists()]
    home = folder / HOME_NAME
    home.mkdir()
    return Workstation(home, project, 9, ":".join([str(programs), *without]))


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, project: Path) -> First:
    """The tests that name it are in their order. There is no cache of npm's, and shall be none."""
    machine = workstation(tmp_path_factory.mktemp("first"), project)
    of_system = machine.home / "elsewhere/etc/npmrc"
    of_system.parent.mkdir(parents=True)
    found = Path(
        subprocess.check_output(["npm", "config", "get", "globalconfig"], text=True).strip()
    )
    of_system.write_text(found.read_text() if found.exists() else "")
    (machine.home / ".npmrc").write_text(NPMRC)
    before = machine.tree()
    return First(machine, before, machine.deploy(OLD))


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory, first: First) -> Path:
    """npm's prefix with the first version, out of reach of the second."""
    copy = tmp_path_factory.mktemp("older") / OLD
    linked(first.machine.home / ".homeport/client" / OLD, copy)
    return copy


def linked(source: Path, target: Path) -> None:
    """A copy that takes no room."""
    shutil.copytree(source, target, symlinks=True, copy_function=os.link)


@pytest.fixture
def machine(tmp_path: Path, project: Path) -> Workstation:
    return workstation(tmp_path, project)


def test_npm_installs_it_beside_homeport(first: First, older: Path) -> None:
    machine = first.machine
    assert first.run.status == 0, first.run.output
    assert machine.installed() == [OLD]
    assert machine.sh("command -v claude") == str(machine.home / ".homeport/bin/claude")
    assert machine.sh("claude --version") == f"{OLD} (Claude Code)"
    assert set(machine.home.glob(".*")) & {machine.home / ".npm", machine.home / ".node"} == set()


def test_again_nothing_changes(first: First) -> None:
    run = first.machine.deploy(OLD)
    assert run.of("@local")[0] == "no changes", run.output


def test_a_path_that_names_it_twice_makes_it_nobody_elses(first: First) -> None:
    machine, ours = first.machine, first.machine.home / ".homeport/bin"
    path, machine.path = machine.path, f"{ours}:{ours}:{machine.path}:{ours}"
    assert machine.deploy(OLD).of("@local")[0] == "no changes"
    machine.path = path


def test_an_upgrade_that_is_killed(first: First) -> None:
    """However much of it is there: here all but the program."""
    machine = first.machine
    run = machine.start()
    package = machine.home / ".homeport/client" / NEW / PACKAGE
    wait_until(package.exists, 400)
    run.kill()
    machine.fake(str(package.relative_to(machine.home) / "bin/claude.exe"), "")
    assert machine.sh("claude --version") == f"{OLD} (Claude Code)"
    done = machine.deploy()
    assert done.status == 0, done.output
    assert machine.installed() == [NEW]
    assert machine.sh("claude --version") == f"{NEW} (Claude Code)"
    assert machine.deploy().of("@local")[0] == "no changes"


def test_the_users_own_takes_its_place(first: First) -> None:
    machine = first.machine
    program = machine.fake(".local/bin/claude", "9.0.0")
    run = machine.deploy()
    assert f"{program} is Claude Code 9.0.0; this fleet is tested with {NEW}" in run.of("@local")
    assert machine.installed() == []
    assert not (machine.home / ".homeport/bin/claude").exists()
    assert machine.deploy().of("@local")[0] == "no changes"
    shutil.rmtree(machine.home / ".local")


def test_removal_leaves_no_trace(first: First, older: Path) -> None:
    machine = first.machine
    linked(older, machine.home / ".homeport/client" / OLD)
    assert machine.deploy(OLD).of("@local")[0] == "1 change made"
    assert machine.sh("claude --version") == f"{OLD} (Claude Code)"
    assert machine.remove().of("@local")[-1] == "nothing of homeport is left"
    assert machine.tree() == first.before


def test_the_users_own_is_upgraded_where_it_is_and_stays(machine: Workstation, older: Path) -> None:
    linked(older, machine.home / ".npm-global")
    assert machine.version(OWN) == f"{OLD} (Claude Code)"
    before = machine.tree()
    run = machine.deploy()
    assert run.status == 0, run.output
    assert machine.version(OWN) == f"{NEW} (Claude Code)"
    assert machine.installed() == []
    assert not (machine.home / ".homeport/bin/claude").exists()
    assert machine.deploy().of("@local")[0] == "no changes"
    assert machine.remove().status == 0
    assert machine.version(OWN) == f"{NEW} (Claude Code)"
    assert {path.split("/")[0] for path in machine.tree()} == {".npm-global"}
    assert set(machine.tree()) - set(before) == set()


def test_too_old_and_nobody_knows_who_installed_it(machine: Workstation) -> None:
    program = machine.fake(".local/bin/claude", "2.1.100")
    before = machine.tree()
    run = machine.deploy()
    assert run.status == 1
    assert f"{program} is Claude Code 2.1.100, which takes no notice of how many" in run.output
    assert f"Type: curl -fsSL https://claude.ai/install.sh | bash -s {NEW}" in run.output
    assert machine.tree() == before


@pytest.fixture
def fixed(machine: Workstation) -> Iterator[Path]:
    """A package in a folder that the user may not write in."""
    prefix = machine.home / ".npm-global"
    program = machine.fake(f".npm-global/{PACKAGE}/bin/claude.exe", "2.1.100")
    (prefix / "bin").mkdir()
    (prefix / "bin/claude").symlink_to(os.path.relpath(program, prefix / "bin"))
    folders = (prefix / "bin", (prefix / PACKAGE).parent)
    for folder in folders:
        folder.chmod(0o555)
    if os.geteuid() == 0:
        machine.prefix = ("setpriv", "--bounding-set=-dac_override")
    yield prefix
    for folder in folders:
        folder.chmod(0o755)


def test_too_old_and_roots(machine: Workstation, fixed: Path) -> None:
    before = machine.tree()
    run = machine.deploy()
    assert run.status == 1
    typed = f"sudo npm install --global --prefix '{fixed}' @anthropic-ai/claude-code@"
    assert f"Type: {typed}" in run.output
    assert machine.tree() == before
    machine.fake(f".npm-global/{PACKAGE}/bin/claude.exe", "2.1.329")
    run = machine.deploy()
    assert run.status == 0, run.output
    assert f"Claude Code is 2.1.329. Type: {typed}{NEW}" in run.of("@local")
    assert machine.installed() == []


def test_a_registry_that_nobody_reaches(machine: Workstation) -> None:
    """The address is in the settings of the whole system, which npm finds by its prefix."""
    (machine.home / ".npmrc").write_text(NPMRC)
    of_system = machine.home / "elsewhere/etc/npmrc"
    of_system.parent.mkdir(parents=True)
    of_system.write_text("registry=http://127.0.0.1:9/\nfetch-retries=0\n")
    run = machine.deploy()
    assert run.status == 1
    assert "ECONNREFUSED" in run.output
    assert "homeport: Claude Code could not be installed, see the lines above. Type: npm" in (
        run.output
    )
    assert not (machine.home / ".homeport/bin/claude").exists()
    assert not (machine.home / ".npm").exists()
