"""brew does what the real one is known to do, and refuses what that would not understand."""

from __future__ import annotations

import os
import pty

import pytest

from .conftest import Machine

QUIET = {"HOMEBREW_NO_AUTO_UPDATE": "1"}


def versions(machine: Machine) -> str:
    return machine.brew("list", "--versions", "llama.cpp").stdout


def test_from_the_installation_to_the_removal(machine: Machine) -> None:
    machine.offer("9800")
    assert machine.brew("list", "--versions", "llama.cpp").returncode == 1
    assert "Pouring llama.cpp--9800" in machine.brew("install", "llama.cpp", env=QUIET).stdout
    server = machine.prefix / "bin/llama-server"
    assert str(server.readlink()) == "../Cellar/llama.cpp/9800/bin/llama-server"
    assert versions(machine) == "llama.cpp 9800\n"
    machine.offer("0.6.0")
    assert "9800 -> 0.6.0" in machine.brew("upgrade", "llama.cpp", env=QUIET).stdout
    assert versions(machine) == "llama.cpp 0.6.0\n"
    again = machine.brew("upgrade", "llama.cpp", env=QUIET)
    assert (again.returncode, again.stderr) == (0, "Warning: llama.cpp 0.6.0 already installed\n")
    assert machine.brew("uninstall", "llama.cpp").returncode == 0
    assert not server.is_symlink()
    assert list((machine.prefix / "Cellar").iterdir()) == []
    assert not machine.refused()


def test_without_its_clean_up_the_older_version_stays(machine: Machine) -> None:
    machine.offer("9800")
    machine.brew("install", "llama.cpp", env=QUIET)
    machine.offer("0.6.0")
    machine.brew("upgrade", "llama.cpp", env={**QUIET, "HOMEBREW_NO_INSTALL_CLEANUP": "1"})
    assert versions(machine) == "llama.cpp 9800 0.6.0\n"
    assert "llama.cpp 9800 is still installed" in machine.brew("uninstall", "llama.cpp").stdout
    assert versions(machine) == "llama.cpp 9800\n"


def test_an_installation_of_what_is_there_is_an_upgrade(machine: Machine) -> None:
    machine.offer("9800")
    machine.brew("install", "llama.cpp", env=QUIET)
    machine.offer("0.6.0")
    kept = machine.brew("install", "llama.cpp", env={**QUIET, "HOMEBREW_NO_INSTALL_UPGRADE": "1"})
    assert "it's just not up-to-date" in kept.stderr
    assert versions(machine) == "llama.cpp 9800\n"
    machine.brew("install", "llama.cpp", env=QUIET)
    assert versions(machine) == "llama.cpp 0.6.0\n"


def test_it_updates_itself_first(machine: Machine) -> None:
    machine.offer("9800")
    said = machine.brew("install", "llama.cpp").stderr
    assert said.startswith("==> Auto-updating Homebrew...\nAdjust how often this is run with")


def test_it_asks_at_a_terminal(machine: Machine) -> None:
    machine.offer("9800")
    ours, its = pty.openpty()
    os.write(ours, b"n\n")
    asked = machine.brew("install", "llama.cpp", stdin=its, env=QUIET)
    assert asked.returncode == 1
    assert "Do you want to proceed with the installation? [y/n]" in asked.stdout
    silent = machine.brew("install", "llama.cpp", stdin=its, env={**QUIET, "HOMEBREW_NO_ASK": "1"})
    assert silent.returncode == 0
    assert "proceed" not in silent.stdout


def test_root_may_ask_for_the_prefix_only(machine: Machine) -> None:
    refused = machine.brew("install", "llama.cpp", uid=0)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: Running Homebrew as root is extremely dangerous")
    assert machine.brew("--prefix", uid=0).stdout == f"{machine.prefix}\n"


def test_a_home_is_needed(machine: Machine) -> None:
    assert (
        machine.brew("--prefix", env={"HOME": ""}).stderr
        == "Error: $HOME must be set to run brew.\n"
    )


@pytest.mark.parametrize(
    "words",
    ["", "instal llama.cpp", "install", "install --yes llama.cpp", "list -v", "uninstall"],
)
def test_what_is_not_modelled_is_refused(machine: Machine, words: str) -> None:
    assert machine.brew(*words.split()).returncode == 1
    assert len(machine.refused()) == 1


def test_a_variable_that_homebrew_does_not_have(machine: Machine) -> None:
    assert machine.brew("--prefix", env={"HOMEBREW_NO_AUTOUPDATE": "1"}).returncode == 1
    assert machine.refused() == [
        "HOMEBREW_NO_AUTOUPDATE is no variable of Homebrew's, or not modelled"
    ]


def test_a_formula_that_there_is_not(machine: Machine) -> None:
    said = machine.brew("install", "lama.cpp", env=QUIET).stderr
    assert said.endswith('Error: No available formula with the name "lama.cpp".\n')
