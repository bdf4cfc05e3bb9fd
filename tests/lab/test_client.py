"""Claude Code on workstations of a fleet, by what they have: Homebrew, npm, or neither."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from ..running import Run
from . import homebrew
from .host import Host
from .lab import Lab
from .routes import CLUSTER

OLD, OLDEST, NEW = "2.1.100", "2.1.328", "2.1.330"
BREW = "HOMEBREW_NO_AUTO_UPDATE=1 /opt/homebrew/bin/brew"
NATIVE = f"curl -fsSL https://claude.ai/install.sh | bash -s {NEW}"

#: What npm does for a Claude Code, told with --prefix as its last option but the package.
NPM = """#!/bin/sh
[ "$1" = config ] && exec echo /etc/npmrc
while [ "$1" != --prefix ]; do shift; done
package=lib/node_modules/@anthropic-ai/claude-code
mkdir -p "$2/bin" "$2/$package/bin"
printf '#!/bin/sh\\necho "%s (Claude Code)"\\n' "${3##*@}" > "$2/$package/bin/claude.exe"
chmod +x "$2/$package/bin/claude.exe"
ln -sf "../$package/bin/claude.exe" "$2/bin/claude"
"""


@dataclass
class Desk:
    """A workstation for models that a server has which is not up yet."""

    lab: Lab
    host: Host

    def deploy(self, version: str = NEW) -> Run:
        return self.lab.deploy(self._inventory(version))

    def remove(self) -> Run:
        return self.lab.remove(self._inventory(NEW))

    def _inventory(self, version: str) -> str:
        name, groups = f"with-{self.host.name}", {"workstations": [self.host]}
        return str(self.lab.inventory(groups, name=name, routes=CLUSTER, claude_code=version))

    def sh(self, command: str) -> str:
        return self.lab.login(self.host, "anna", command)

    def says(self, run: Run) -> str:
        return "\n".join(run.of(self.host.name))


@pytest.fixture(scope="module")
def mac(lab: Lab) -> Desk:
    host = lab.mac("mac")
    homebrew.offer_client(host.root, NEW)
    return Desk(lab, host)


def test_homebrew_installs_it_on_a_mac_and_takes_it_away(mac: Desk) -> None:
    before = mac.host.tree()
    run = mac.deploy()
    assert run.status == 0, run.output
    assert mac.sh("/opt/homebrew/bin/claude --version") == f"{NEW} (Claude Code)"
    assert mac.sh("ls .homeport/bin .homeport/client").count("claude") == 0
    assert mac.deploy().of("mac")[0] == "no changes"
    assert mac.remove().status == 0
    assert mac.host.difference(before) == {}


def test_an_old_cask_is_upgraded_and_stays(mac: Desk) -> None:
    homebrew.offer_client(mac.host.root, OLD, "claude-code")
    mac.sh(f"{BREW} install --cask claude-code")
    homebrew.offer_client(mac.host.root, OLDEST, "claude-code")
    run = mac.deploy()
    assert run.status == 0, run.output
    assert mac.sh("/opt/homebrew/bin/claude --version") == f"{OLDEST} (Claude Code)"
    again = mac.deploy()
    assert again.of("mac")[0] == "no changes"
    said = f"claude is Claude Code {OLDEST}, and Homebrew has no newer claude-code; this fleet is"
    assert said in mac.says(again)
    homebrew.offer_client(mac.host.root, NEW, "claude-code")
    assert mac.deploy().of("mac")[0] == "1 change made"
    assert mac.deploy().of("mac")[0] == "no changes"
    assert mac.remove().status == 0
    assert mac.sh("/opt/homebrew/bin/claude --version") == f"{NEW} (Claude Code)"


def test_homebrew_may_have_none_that_works(mac: Desk) -> None:
    mac.sh(f"{BREW} uninstall --force --cask claude-code")
    homebrew.offer_client(mac.host.root, OLD)
    run = mac.deploy()
    assert run.status == 1
    assert "claude does not run, or is older than it has to be. Type: brew " in run.output
    homebrew.offer_client(mac.host.root, NEW)
    assert mac.deploy().status == 0
    assert mac.sh("/opt/homebrew/bin/claude --version") == f"{NEW} (Claude Code)"


def test_somebody_elses_homebrew(lab: Lab) -> None:
    shared = Desk(lab, lab.mac("shared", brew_owner="ops"))
    homebrew.offer_client(shared.host.root, OLD, "claude-code")
    run = shared.deploy()
    assert run.status == 0, run.output
    assert f"Claude Code is not installed. Type: {NATIVE}" in shared.says(run)
    lab.login(shared.host, "ops", f"{BREW} install --cask claude-code")
    before = shared.host.tree()
    run = shared.deploy()
    assert run.status == 1
    typed = "Type: brew upgrade --cask claude-code (as the user whose Homebrew it is)"
    assert typed in run.output
    assert shared.host.difference(before) == {}


@pytest.fixture(scope="module")
def linux(lab: Lab) -> Desk:
    return Desk(lab, lab.host("linux"))


def test_without_npm_a_person_installs_it(linux: Desk) -> None:
    run = linux.deploy()
    assert run.status == 0, run.output
    assert f"Claude Code is not installed. Type: {NATIVE}" in linux.says(run)
    assert "claude-glm at http://glm-host:8000" in linux.says(run), "it went on"
    assert linux.deploy().of("linux")[0] == "no changes"


def test_an_npm_that_only_a_terminal_has_on_its_path(linux: Desk) -> None:
    npm = "/home/anna/.nvm/versions/node/v22.1.0/bin/npm"
    linux.host.write(npm, NPM, "anna")
    linux.host.run(f"chmod +x {npm}")
    run = linux.deploy()
    assert run.status == 0, run.output
    assert linux.sh("bash -i -c 'claude --version' 2>/dev/null") == f"{NEW} (Claude Code)"
    assert linux.deploy().of("linux")[0] == "no changes"
    linux.host.run("rm -r /home/anna/.nvm")
    assert linux.deploy().of("linux")[0] == "no changes", "what is there needs npm no more"
    assert linux.deploy("2.1.331").of("linux")[0] == "no changes", "an old one is better than none"
    assert linux.sh("bash -i -c 'claude --version' 2>/dev/null") == f"{NEW} (Claude Code)"
