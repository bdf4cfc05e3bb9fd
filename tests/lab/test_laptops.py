"""Laptops of all kinds are onboarded: what they serve with, what fits them, and what is told."""

from __future__ import annotations

import json
import plistlib
import re
from collections.abc import Iterator
from typing import Any

import pytest

from ..hub import Hub
from ..running import Run, wait_until
from ..serving import tiny_gguf
from . import coder, darwin, homebrew
from .host import Host
from .lab import Lab

GIB = 1024**3
LABEL = "homeport.claude-fable5"
PLIST = f"/Users/anna/Library/LaunchAgents/{LABEL}.plist"
PROOFS = (
    "it streams, holds its context, answers, counts tokens, calls a tool, takes a system message, "
    "reuses its prefix cache"
)


class Laptop:
    """A host that is a laptop and a workstation, before its first deploy."""

    def __init__(self, lab: Lab, host: Host) -> None:
        self.lab, self.host = lab, host
        self.before = host.tree()

    def deploy(self, **data: Any) -> Run:
        return self.lab.deploy(self.inventory(**data))

    def remove(self, **data: Any) -> Run:
        return self.lab.remove(self.inventory(**data))

    def inventory(self, **data: Any) -> str:
        groups = {"laptops": [self.host], "workstations": [self.host]}
        name = f"with-{self.host.name}"
        return str(self.lab.inventory(groups, name=name, **{"routes": coder.ROUTES, **data}))

    def says(self, run: Run) -> str:
        return "\n".join(run.of(self.host.name))

    def sh(self, command: str) -> str:
        return self.lab.login(self.host, "anna", command)

    @property
    def agent(self) -> list[str]:
        """What launchd starts."""
        words: list[str] = plistlib.loads(self.host.file(PLIST).read_bytes())["ProgramArguments"]
        return words

    @property
    def pid(self) -> int | None:
        found = re.search(r"\tpid = (\d+)", self.sh(f"launchctl print gui/501/{LABEL}"))
        return int(found[1]) if found else None

    def weights(self, quant: str) -> list[str]:
        home = self.sh("echo $HOME")
        folder = self.host.file(f"{home}/.homeport/weights/{coder.REPO}@{quant}/current/")
        return sorted(path.name for path in folder.glob("*.gguf"))


@pytest.fixture(scope="module")
def hub(lab: Lab) -> Iterator[Hub]:
    with coder.coder_on(lab) as hub:
        yield hub


@pytest.fixture(scope="module")
def silicon(lab: Lab, hub: Hub) -> Laptop:
    """A Mac of 24 GB, whose owner installed llama.cpp long ago."""
    host = lab.mac("silicon", memory=24 * GIB)
    homebrew.offer(host.root, homebrew.OLD)
    lab.login(host, "anna", "HOMEBREW_NO_AUTO_UPDATE=1 /opt/homebrew/bin/brew install llama.cpp")
    homebrew.offer(host.root, homebrew.NEW)
    return Laptop(lab, host)


def test_a_mac_with_an_old_llama_cpp_that_does(silicon: Laptop) -> None:
    run = silicon.deploy()
    assert run.status == 0, run.output
    assert (
        "claude-fable5: 25.77 GB (24 GiB) unified memory: Q6_K 9.79 GB + KV 0.84 GB at 65,536 "
        "tokens + buffers 1.82 GB -> fits, 13.32 GB free" in run.output
    )
    assert "claude-fable5 (Gemma 4 12B Coder Q6_K, 65,536 tokens) answers at" in silicon.says(run)
    assert PROOFS in silicon.says(run)
    assert silicon.weights("Q6_K") == ["coder-Q6_K.gguf"]
    assert silicon.sh("ls /opt/homebrew/Cellar/llama.cpp") == "9800", "no reason to upgrade"
    assert "--no-mmap" in silicon.agent and "--device" not in silicon.agent
    assert silicon.agent[silicon.agent.index("--n-gpu-layers") + 1] == "99"


def test_its_route_has_guardrails_and_the_clusters_has_none(silicon: Laptop) -> None:
    rules = [
        json.loads(silicon.sh(f"cat .homeport/routes/claude-{name}.json"))["permissions"]
        for name in ("fable5", "glm")
    ]
    assert "Bash" in rules[0]["ask"] and "Read(~/.ssh/**)" in rules[0]["deny"]
    assert "ask" not in rules[1]


def test_again_nothing_changes_and_only_one_question_is_asked(silicon: Laptop) -> None:
    pid = silicon.pid
    run = silicon.deploy()
    assert run.of("silicon")[0] == "no changes"
    assert "answers at" in silicon.says(run) and PROOFS not in silicon.says(run)
    assert silicon.pid == pid


def test_the_owner_upgrades_and_it_starts_all_the_same(silicon: Laptop) -> None:
    """The old flag is unknown to the new build, and nobody has deployed since."""
    silicon.sh("HOMEBREW_NO_AUTO_UPDATE=1 /opt/homebrew/bin/brew upgrade llama.cpp")
    silicon.sh(f"launchctl kickstart -k gui/501/{LABEL}")
    models = (
        "curl -s --retry 90 --retry-delay 1 --retry-connrefused http://127.0.0.1:18080/v1/models"
    )
    assert '"claude-fable5"' in silicon.sh(models)
    run = silicon.deploy()
    assert run.of("silicon")[0] == "2 changes made", "the agent, and what was proven"
    assert PROOFS in silicon.says(run)
    assert silicon.agent[silicon.agent.index("--load-mode") + 1] == "none"


def test_another_quant(silicon: Laptop) -> None:
    run = silicon.deploy(quant="Q4_K_M")
    assert "(Gemma 4 12B Coder Q4_K_M, 65,536 tokens) answers at" in silicon.says(run)
    assert silicon.weights("Q4_K_M") == ["coder-Q4_K_M.gguf"]
    left = f"{coder.REPO}@Q6_K is not needed here any more: rm -r /Users/anna/.homeport/weights/"
    assert left in silicon.says(run)
    assert silicon.weights("Q6_K"), "until it is served no more, and then for whoever goes back"
    tight = silicon.deploy(quant="Q8_0")
    assert "buffers 1.82 GB -> 15.36 GB, and 14.95 GB are for the model" in tight.output
    assert "(Gemma 4 12B Coder Q8_0, 65,536 tokens) answers at" in silicon.says(tight)


def test_the_log_is_kept_small(silicon: Laptop) -> None:
    log = silicon.host.file("/Users/anna/.homeport/log/claude-fable5.log")
    with log.open("ab") as file:
        file.write(b"x" * 6_000_000)
    silicon.sh(f"launchctl kickstart -k gui/501/{LABEL}")
    wait_until(lambda: log.exists() and log.stat().st_size < 1_000_000)
    assert log.with_name("claude-fable5.log.1").stat().st_size > 6_000_000
    wait_until(lambda: "listening" in log.read_text(errors="replace"))


def test_removal_leaves_what_was_the_owners(silicon: Laptop) -> None:
    assert silicon.remove().status == 0
    changed = silicon.host.difference(silicon.before)
    assert {path for path in changed if "homebrew" not in path} == set()
    assert silicon.sh("ls /opt/homebrew/bin/llama-server") == "/opt/homebrew/bin/llama-server"


def test_an_unlinked_llama_cpp_is_its_owners_all_the_same(silicon: Laptop) -> None:
    silicon.sh("/opt/homebrew/bin/brew unlink llama.cpp")
    run = silicon.deploy()
    assert PROOFS in silicon.says(run), run.output
    assert silicon.remove().status == 0
    assert silicon.sh("ls /opt/homebrew/bin/llama-server") == "/opt/homebrew/bin/llama-server"


@pytest.fixture(scope="module")
def small(lab: Lab, hub: Hub) -> Laptop:
    return Laptop(lab, lab.mac("small", memory=8 * GIB))


def test_a_machine_that_is_too_small_has_the_cluster(small: Laptop) -> None:
    run = small.deploy()
    assert run.status == 0, run.output
    said = small.says(run)
    assert "claude-fable5 is not served here, the machine is too small for it: 8.59 GB" in said
    assert "claude-glm at http://glm-host:8000 cannot be found" in said
    names = ("homeport-doctor", "homeport-explain", "use-anthropic.sh", "use-glm.sh")
    assert small.sh("cd .homeport/bin && ls") == "\n".join(names)
    assert small.sh("ls /opt/homebrew/Cellar") == "", "nothing is installed for nothing"
    assert small.deploy().of("small")[0] == "no changes"


def test_a_quant_that_cannot_work_there_is_refused(small: Laptop) -> None:
    run = small.deploy(quant="Q4_K_M")
    assert run.status == 1
    assert "quant is 'Q4_K_M': it does not fit 8.59 GB (8 GiB) unified memory" in run.output
    assert small.remove().status == 0
    assert small.host.difference(small.before) == {}


@pytest.fixture(scope="module")
def intel(lab: Lab, hub: Hub) -> Laptop:
    """An Intel Mac, whose llama.cpp is older than the model."""
    host = lab.mac("intel", chip="x86_64", memory=32 * GIB)
    homebrew.offer(host.root, homebrew.TOO_OLD)
    lab.login(host, "anna", "HOMEBREW_NO_AUTO_UPDATE=1 /usr/local/bin/brew install llama.cpp")
    return Laptop(lab, host)


def test_homebrew_itself_may_have_none_that_is_new_enough(intel: Laptop) -> None:
    run = intel.deploy()
    assert run.status == 1
    assert "is older than build 9511, which the model needs" in run.output
    homebrew.offer(intel.host.root, homebrew.NEW)


def test_on_battery_it_waits(intel: Laptop) -> None:
    darwin.power(intel.host.root, "battery")
    run = intel.deploy(on_battery=False)
    assert run.status == 0, run.output
    assert "waits for mains power (on_battery = False)" in intel.says(run)
    assert intel.sh("ls /usr/local/Cellar/llama.cpp").split() == ["0.6.0", "8000"]


def test_plugged_in_it_serves_without_a_gpu(intel: Laptop) -> None:
    darwin.power(intel.host.root, "wall")
    run = intel.deploy(on_battery=False)
    assert "(Gemma 4 12B Coder Q8_0, 131,072 tokens) answers at" in intel.says(run), run.output
    words = intel.agent
    assert words[words.index("--device") + 1] == "none"
    assert words[words.index("--n-gpu-layers") + 1] == "0"


def test_a_mac_without_homebrew(lab: Lab, hub: Hub) -> None:
    lab.mac("shared", brew_owner="ops")
    bare = Laptop(lab, lab.mac("bare", brew_owner=None))
    run = bare.deploy()
    assert run.status == 1
    line = '"$(curl -fsSL https://raw.githubusercontent.com/Homebrew/install/HEAD/install.sh)"'
    assert f"Homebrew is not on this machine. Type: /bin/bash -c {line}" in run.output
    assert bare.host.difference(bare.before) == {}
    run = Laptop(lab, lab.mac("shared")).deploy()
    assert "/opt/homebrew is another user's Homebrew, who has to type: brew install" in run.output


@pytest.fixture(scope="module")
def linux(lab: Lab, hub: Hub) -> Laptop:
    return Laptop(lab, lab.host("linux", brew_owner="anna"))


def test_linux_with_homebrew(linux: Laptop) -> None:
    plan = linux.lab.start(linux.inventory(), "--dry", terminal=True).wait()
    assert "GiB) memory, without a GPU: Q" in plan.output
    assert "Install llama.cpp with Homebrew" in plan.output
    assert linux.host.difference(linux.before) == {}
    run = linux.deploy()
    assert run.status == 0, run.output
    assert PROOFS in linux.says(run)
    unit = linux.sh("systemctl --user cat homeport.claude-fable5.service")
    assert '"/home/linuxbrew/.linuxbrew/bin/llama-server" "--model"' in unit
    assert linux.deploy().of("linux")[0] == "no changes"


def test_it_serves_after_a_reboot(linux: Laptop) -> None:
    linux.host.reboot()
    models = (
        "curl -s --retry 90 --retry-delay 1 --retry-connrefused http://127.0.0.1:18080/v1/models"
    )
    assert '"claude-fable5"' in linux.sh(models)
    assert linux.deploy().of("linux")[0] == "no changes"


def test_a_template_that_insists_on_turns_is_found_and_replaced(linux: Laptop, hub: Hub) -> None:
    hub.commit(coder.REPO, coder.files(tiny_gguf.ALTERNATING))
    coder.repin(linux.lab)
    run = linux.deploy()
    assert run.status == 1
    said = linux.says(run)
    assert "is up and does not serve Claude Code: takes a system message: " in said
    assert "Conversation roles must alternate" in said
    assert "Set chat_template in group_data/laptops.py to a template for this model that" in said
    (linux.lab.project / "mine.jinja").write_text(tiny_gguf.TEMPLATE)
    run = linux.deploy(chat_template="mine.jinja")
    assert run.status == 0, run.output
    assert PROOFS in linux.says(run)
    assert linux.deploy(chat_template="mine.jinja").of("linux")[0] == "no changes"


def test_removal_takes_llama_cpp_away_again(linux: Laptop) -> None:
    assert linux.remove().status == 0
    left = linux.host.difference(linux.before)
    assert {path for path in left if "/var/log" not in path} == set()
    assert linux.sh("ls /home/linuxbrew/.linuxbrew/Cellar") == ""
