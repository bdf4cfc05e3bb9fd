"""Claude Code on a workstation: installed, upgraded by what installed it, never taken back."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from homeport.claude_code import OLDEST_CLIENT
from homeport.facts.client import ClientFact, Kind
from homeport.facts.host import MachineFact

from .test_plan import MAC, Plan, plan

LINUX = [
    "home=/home/jörg x",
    "kernel=Linux",
    "arch=x86_64",
    "memory_kib=16000000",
    "user=jörg",
    "manager=systemd",
    "lingering=on",
    "python=/usr/bin/python3 3.12.3",
    "venv=yes",
    "openmp=yes",
    "free_kib=200000000",
]
WANTED = "2.1.330"
NPM = "npm=/usr/bin/npm"
PLACES = {
    Kind.NPM: "/home/jörg x/n/lib/node_modules/@anthropic-ai/claude-code/bin/claude.exe",
    Kind.NATIVE: "/home/jörg x/.local/share/claude/versions/2.1.300",
    Kind.CASK: "/opt/homebrew/Caskroom/claude-code/2.1.300/claude",
    Kind.OTHER: "/usr/lib/claude/claude",
}


def there(kind: Kind, version: str, *more: str) -> dict[str, list[str]]:
    """What the host says of a `claude` of this kind."""
    said = f"{version} (Claude Code)"
    return {"/u/claude": ["path=/u/claude", f"real={PLACES[kind]}", *more, f"version={said}"]}


def changes(found: Plan) -> list[str]:
    return [command for command in found.commands if "is_new_enough" in command]


def variable(command: str, name: str) -> str:
    found = re.search(rf"^{name}=(.*)$", command, re.MULTILINE)
    assert found, command
    return found[1].strip("'")


@pytest.mark.parametrize("kind", Kind)
def test_who_installed_it(kind: Kind) -> None:
    client = ClientFact().process(there(kind, "2.1.300")["/u/claude"])
    assert client and client.kind is kind and client.version == (2, 1, 300) and client.writable
    assert client.prefix == ("/home/jörg x/n" if kind is Kind.NPM else PLACES[kind])
    fixed = ClientFact().process(there(kind, "2.1.300", "fixed=yes")["/u/claude"])
    assert fixed and not fixed.writable


def test_where_there_is_none_npm_installs_it_beside_homeport() -> None:
    found = plan([*LINUX, NPM], claude_code=WANTED)
    (command,) = changes(found)
    assert variable(command, "prefix") == f"/home/jörg x/.homeport/client/{WANTED}"
    assert variable(command, "package") == f"@anthropic-ai/claude-code@{WANTED}"
    called = f"/home/jörg x/.homeport/client/{WANTED}/bin/claude"
    script = found.upload(r"/bin/claude(\..*)?$").decode()
    assert script == f"#!/bin/sh\nDISABLE_AUTOUPDATER=1 exec '{called}' \"$@\"\n"


def test_on_a_mac_homebrew_installs_it() -> None:
    (command,) = changes(plan(MAC, claude_code=WANTED))
    assert '"$brew" install --cask "$cask"' in command
    assert variable(command, "program") == "/opt/homebrew/bin/claude"
    assert variable(command, "cask") == "claude-code@latest"


def test_a_cask_is_upgraded_by_its_own_name_where_homebrew_has_a_newer() -> None:
    machine = [*MAC, "claude=/u/claude"]
    known = there(Kind.CASK, "2.1.329")
    assert changes(plan(machine, known, claude_code=WANTED)) == [], "which is new enough to work"
    known["outdated"] = ["claude-code"]
    (command,) = changes(plan(machine, known, claude_code=WANTED))
    assert variable(command, "cask") == "claude-code"
    assert '"$brew" install' not in command
    fixed = [line for line in machine if line != "brew_is_ours=yes"]
    with pytest.raises(AssertionError, match="whose Homebrew it is"):
        plan(fixed, there(Kind.CASK, "2.1.1"), claude_code=WANTED)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Kind.NPM, '"$npm" install --global'),
        (Kind.NATIVE, '"$program" install "$wanted"'),
        (Kind.CASK, '"$brew" upgrade --cask "$cask"'),
    ],
)
def test_an_old_one_is_upgraded_by_what_installed_it(kind: Kind, words: str) -> None:
    machine = [*(MAC if kind is Kind.CASK else LINUX), NPM, "claude=/u/claude"]
    found = plan(machine, there(kind, "2.1.300"), claude_code=WANTED)
    (command,) = changes(found)
    assert words in command and variable(command, "program") == "/u/claude"
    assert not [name for name in found.uploads if name.endswith("/bin/claude")]


@pytest.mark.parametrize("version", [WANTED, "2.1.331", "3.0.0"])
def test_one_that_is_new_enough_is_left_alone(version: str) -> None:
    found = plan([*LINUX, NPM, "claude=/u/claude"], there(Kind.NPM, version), claude_code=WANTED)
    assert changes(found) == []


@pytest.mark.parametrize(
    ("machine", "answers", "typed"),
    [
        (LINUX, there(Kind.NPM, "2.1.1"), "sudo npm install --global --prefix '/home/jörg x/n'"),
        (LINUX, there(Kind.OTHER, "2.1.1"), "curl -fsSL https://claude.ai/install.sh | bash -s"),
        (MAC, there(Kind.OTHER, "2.1.1"), "curl -fsSL https://claude.ai/install.sh | bash -s"),
    ],
)
def test_one_that_is_too_old_and_not_ours_to_upgrade(
    machine: list[str], answers: dict[str, list[str]], typed: str
) -> None:
    with pytest.raises(AssertionError, match="takes no notice of how many tokens") as caught:
        plan([*machine, "claude=/u/claude"], answers, claude_code=WANTED)
    assert typed in str(caught.value)


def test_one_that_does_not_run_and_that_nobody_can_mend_is_none() -> None:
    for kind in (Kind.NATIVE, Kind.OTHER):
        broken = {"/u/claude": ["path=/u/claude", f"real={PLACES[kind]}"]}
        found = plan([*LINUX, NPM, "claude=/u/claude"], broken, claude_code=WANTED)
        assert "@anthropic-ai/claude-code" in changes(found)[0]
        assert found.upload(r"/bin/claude(\..*)?$")


@pytest.mark.parametrize(
    ("default", "there", "chosen"),
    [
        ("22", ["v8.17.0", "v20.2.0", "v22.1.0", "v22.10.0"], "v22.10.0"),
        ("v20.2.0", ["v8.17.0", "v20.2.0", "v22.1.0"], "v20.2.0"),
        ("lts/*", ["v8.17.0", "v20.2.0"], "v20.2.0"),
        (None, ["v8.17.0", "v20.2.0"], "v20.2.0"),
    ],
)
def test_of_nvms_nodes_the_users_default_counts(
    tmp_path: Path, default: str | None, there: list[str], chosen: str
) -> None:
    for version in there:
        program = tmp_path / "h x/.nvm/versions/node" / version / "bin/npm"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    if default:
        (tmp_path / "h x/.nvm/alias").mkdir()
        (tmp_path / "h x/.nvm/alias/default").write_text(f"{default}\n")
    command = MachineFact().command("~/.homeport").get_raw_value()
    done = subprocess.run(
        ["sh", "-c", command],
        env={"HOME": str(tmp_path / "h x"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    path = tmp_path / "h x/.nvm/versions/node" / chosen / "bin/npm"
    assert f"npm={path}" in done.stdout.splitlines(), done.stdout + done.stderr


def test_nothing_is_installed_unless_asked() -> None:
    assert changes(plan([*LINUX, NPM], claude_code=None)) == []
    oldest = ".".join(map(str, OLDEST_CLIENT))
    kept = there(Kind.NPM, oldest)
    assert changes(plan([*LINUX, NPM, "claude=/u/claude"], kept, claude_code=None)) == []
    with pytest.raises(AssertionError, match="Type: npm install --global --prefix"):
        plan([*LINUX, NPM, "claude=/u/claude"], there(Kind.NPM, "2.1.1"), claude_code=None)
