"""A laptop whose model is pulled from a Hub, from first deploy to removal: in this order."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..hub import Flip, Hub, Trickle
from ..running import wait_until
from .host import Host
from .lab import Lab
from .weights import GGUF, PULLED, REPO, ask, gguf, hub_on, pin

PULL_UNIT = f"homeport.pull.{REPO.replace('/', '--')}.service"
FOLDER = f"/home/anna/.homeport/weights/{REPO}"


@pytest.fixture(scope="module")
def hub(lab: Lab) -> Iterator[Hub]:
    with hub_on(lab) as hub:
        hub.commit(REPO, {"README.md": b"small\n", GGUF: gguf()})
        yield hub


@pytest.fixture(scope="module")
def laptop(lab: Lab) -> Host:
    return lab.host("laptop")


@pytest.fixture
def fleet(lab: Lab, hub: Hub, laptop: Host) -> Path:
    return lab.inventory({"laptops": [laptop]}, routes=PULLED)


def test_what_is_not_pinned_is_refused_before_any_connection(lab: Lab, fleet: Path) -> None:
    run = lab.deploy(fleet)
    assert run.status == 1
    assert "weights.lock.json has no pin of it, and only what is pinned is pulled. Type: make" in (
        run.output
    )
    assert "Connected" not in run.output


def test_make_pin_writes_what_the_hub_says(lab: Lab, hub: Hub, fleet: Path) -> None:
    run = pin(lab)
    assert run.status == 0, run.output
    assert f"{REPO}: new, " in run.output
    locked = json.loads((lab.project / "weights.lock.json").read_text())[REPO]
    (file,) = [file for path, file in hub.files(REPO).items() if path == GGUF]
    assert locked["files"] == {GGUF: {"size": file.size, "sha256": file.sha256}}
    assert f"{REPO}: unchanged" in pin(lab).output


def test_the_first_deploy_pulls_serves_and_asks(lab: Lab, hub: Hub, fleet: Path) -> None:
    run = lab.deploy(fleet)
    assert run.status == 0, run.output
    said = run.of("laptop")
    assert said[1].startswith(f"{REPO} is complete and verified: 1 files, 98.4 MB, revision ")
    assert said[2].startswith("claude-fable5 (SmolLM2 135M (pulled), 8,192 tokens) answers")
    assert hub.bytes_sent(GGUF) == len(gguf())


def test_the_service_that_pulled_is_gone(laptop: Host) -> None:
    assert laptop.service(PULL_UNIT, user="anna").active == "inactive"
    assert "pull" not in laptop.run("ls .config/systemd/user .homeport/service", user="anna")


def test_a_second_deploy_asks_nobody_and_changes_nothing(
    lab: Lab, hub: Hub, laptop: Host, fleet: Path
) -> None:
    before = laptop.tree()
    hub.requests.clear()
    run = lab.deploy(fleet)
    assert run.status == 0
    assert run.of("laptop")[0] == "no changes"
    assert hub.requests == []
    assert laptop.difference(before) == {}
    look = f"python3 ~/.homeport/lib/pull.py status ~/.homeport/weights/{REPO} --deep"
    assert json.loads(laptop.run(look, user="anna"))["state"] == "complete"


class Slow:
    """A new revision of the weights, pinned, that takes 50 s to come, unless it is to `hurry`;
    `done` once it is complete."""

    def __init__(self, lab: Lab, hub: Hub, laptop: Host, content: bytes) -> None:
        self.hub, self.laptop = hub, laptop
        self.commit = hub.commit(REPO, {GGUF: content})
        assert pin(lab).status == 0
        self.before = hub.bytes_sent(GGUF)
        hub.fault(GGUF, Trickle(after=0, bytes_per_second=2_000_000), times=None)

    @property
    def there(self) -> int:
        """Bytes of it on the laptop."""
        part = self.laptop.file(f"{FOLDER}/{self.commit}/{GGUF}.homeport-part")
        return part.stat().st_size if part.exists() else 0

    @property
    def done(self) -> bool:
        current = self.laptop.file(f"{FOLDER}/current")
        return current.is_symlink() and str(current.readlink()) == self.commit

    def hurry(self) -> None:
        """What is left comes at once."""
        self.hub.faults.clear()

    @property
    def fetched(self) -> int:
        return self.hub.bytes_sent(GGUF) - self.before


def other(number: int) -> bytes:
    """The same model, and another file: bytes after its end are ignored by the engine."""
    return gguf() + bytes([number]) * 64


def test_ctrl_c_leaves_the_pull_at_work_and_the_next_run_joins_it(
    lab: Lab, hub: Hub, laptop: Host, fleet: Path
) -> None:
    slow = Slow(lab, hub, laptop, other(1))
    first = lab.start(fleet)
    wait_until(lambda: slow.there > 1_000_000)
    first.process.send_signal(signal.SIGINT)
    assert first.wait().status == 130
    pid = laptop.service(PULL_UNIT, user="anna").pid
    so_far = slow.there
    wait_until(lambda: slow.there > so_far + 1_000_000)
    second = lab.start(fleet)
    second.wait_for(f"is being pulled already, as process {pid}")
    slow.hurry()
    run = second.wait()
    assert run.status == 0, run.output
    assert slow.done
    assert slow.fetched == len(other(1)), "nothing was fetched twice"
    assert f"revision {slow.commit[:12]}" in run.output
    assert run.of("laptop")[2].startswith("claude-fable5 (SmolLM2 135M (pulled), 8,192 tokens) ans")


def test_the_revision_before_stays_until_the_next(laptop: Host) -> None:
    revisions = laptop.run(f"ls {FOLDER}").split()
    assert len(revisions) == 3
    assert "current" in revisions


def test_a_reboot_in_the_middle(lab: Lab, hub: Hub, laptop: Host, fleet: Path) -> None:
    """The pull goes on by itself, from where it was."""
    slow = Slow(lab, hub, laptop, other(2))
    running = lab.start(fleet)
    wait_until(lambda: slow.there > 1_000_000)
    laptop.reboot()
    run = running.wait()
    assert run.status == 1
    slow.hurry()
    wait_until(lambda: slow.done)
    assert slow.fetched - len(other(2)) < 64 * 2**20
    again = lab.deploy(fleet)
    assert again.status == 0, again.output
    assert lab.deploy(fleet).of("laptop")[0] == "no changes"


def test_a_kill_of_the_pull_itself(lab: Lab, hub: Hub, laptop: Host, fleet: Path) -> None:
    """systemd starts it again a minute later; a deploy does not wait for that."""
    slow = Slow(lab, hub, laptop, other(3))
    first = lab.start(fleet)
    wait_until(lambda: slow.there > 1_000_000)
    first.kill()
    laptop.run(f"kill -9 {laptop.service(PULL_UNIT, user='anna').pid}")
    slow.hurry()
    run = lab.deploy(fleet)
    assert run.status == 0, run.output
    assert slow.fetched - len(other(3)) < 64 * 2**20
    assert "homeport-part" not in laptop.run(f"find {FOLDER}")


def test_a_network_that_is_away_for_a_while(lab: Lab, hub: Hub, laptop: Host, fleet: Path) -> None:
    slow = Slow(lab, hub, laptop, other(4))
    with lab.using("transport.py", DEAD_AFTER=8):
        running = lab.start(fleet)
        wait_until(lambda: slow.there > 1_000_000)
    laptop.cut()
    run = running.wait()
    assert run.of("laptop") == ["the connection was lost; the next run takes it from there"]
    slow.hurry()
    laptop.heal()
    again = lab.deploy(fleet)
    assert again.status == 0, again.output
    assert slow.done
    assert slow.fetched - len(other(4)) < 64 * 2**20


def test_a_terminal_shows_one_line_that_moves(
    lab: Lab, hub: Hub, laptop: Host, fleet: Path
) -> None:
    slow = Slow(lab, hub, laptop, other(5))
    running = lab.start(fleet, "--yes", terminal=True)
    running.wait_for("smollm2-gguf: ")
    wait_until(
        lambda: re.search(r"\d+\.\d % of 98\.4 MB, \d+\.\d MB/s, 0:00:\d\d left", running.output)
    )
    slow.hurry()
    assert running.wait().status == 0


def test_what_was_tampered_with_is_fetched_again(
    lab: Lab, hub: Hub, laptop: Host, fleet: Path
) -> None:
    hub.faults.clear()
    before = hub.bytes_sent(GGUF)
    laptop.run(f"printf X | dd of={FOLDER}/current/{GGUF} bs=1 seek=1000 conv=notrunc 2>&1")
    run = lab.deploy(fleet)
    assert run.status == 0, run.output
    assert f"{GGUF} is not what it should be, and is fetched again" in run.output
    assert hub.bytes_sent(GGUF) - before == len(other(5))


def commit_and_pin(lab: Lab, hub: Hub, content: bytes, **how: bool) -> None:
    hub.commit(REPO, {GGUF: content}, **how)
    assert pin(lab, HF_TOKEN="hf_good").status == 0


def failure(lab: Lab, fleet: Path) -> str:
    """The last line of a deploy that fails, with no service left behind."""
    run = lab.deploy(fleet)
    assert run.status == 1
    assert "Traceback" not in run.output
    return run.of("laptop")[-1]


def test_a_gated_repository(lab: Lab, hub: Hub, laptop: Host, fleet: Path) -> None:
    """What to do is said; done, the token goes to the Hub, and nowhere else."""
    hub.add_token("hf_good", may_see=(REPO,))
    commit_and_pin(lab, hub, other(6), gated=True)
    assert failure(lab, fleet).startswith(
        f"{REPO}: {REPO} is gated. Accept its licence at {hub.url}/{REPO}, and give a token"
    )
    assert laptop.service(PULL_UNIT, user="anna").active == "inactive"
    (lab.project / "hub.token").write_text("hf_good\n")
    ask(lab, hub.url, hub_token_file="hub.token")
    refused = lab.deploy(fleet)
    assert "the Hub's token would go there in clear. Use https" in refused.output


def test_a_server_that_alters_the_bytes(lab: Lab, hub: Hub, laptop: Host, fleet: Path) -> None:
    ask(lab, hub.url)
    commit_and_pin(lab, hub, other(7))
    hub.fault(GGUF, Flip(5), times=None)
    said = failure(lab, fleet)
    assert f"{hub.url} sent {GGUF} of {REPO} twice, and both times it was not the pinned" in said
    assert not laptop.file(f"{FOLDER}/current").readlink().name.startswith("current")
    hub.faults.clear()
    assert lab.deploy(fleet).status == 0


def test_a_hub_that_is_away(lab: Lab, hub: Hub, laptop: Host, fleet: Path) -> None:
    """The deploy tells of it while it waits, and goes on when the Hub is back."""
    commit_and_pin(lab, hub, other(8))
    hub.stop_listening()
    running = lab.start(fleet, "--yes", terminal=True)
    running.wait_for("Connection refused")
    hub.listen_again()
    assert running.wait().status == 0


def test_too_little_room_is_found_before_the_first_byte(
    lab: Lab, hub: Hub, laptop: Host, fleet: Path
) -> None:
    commit_and_pin(lab, hub, other(9))
    before = hub.bytes_sent(GGUF)
    laptop.fill_disk(leave=50_000_000)
    said = failure(lab, fleet)
    laptop.free_disk()
    assert re.search(r"is too small: 199\.\d MB are needed and \d+\.\d MB are free\. Make", said)
    assert f"earlier revisions are in {FOLDER}/" in said
    assert hub.bytes_sent(GGUF) == before


def test_removal_while_a_pull_is_at_work(lab: Lab, hub: Hub, laptop: Host, fleet: Path) -> None:
    slow = Slow(lab, hub, laptop, other(10))
    running = lab.start(fleet)
    wait_until(lambda: slow.there > 1_000_000)
    running.kill()
    run = lab.remove(fleet)
    assert run.status == 0, run.output
    assert run.of("laptop")[1] == "nothing of homeport is left"
    assert not laptop.file("/home/anna/.homeport").exists()
    assert laptop.service(PULL_UNIT, user="anna").active == "inactive"
    assert laptop.run("pgrep -f [p]ull.py", check=False) == ""
