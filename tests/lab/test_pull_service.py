"""A host pulls its weights by a service, with a token that nobody else sees; a Mac by launchd."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ..hub import Hub, Trickle
from ..running import wait_until
from .host import Host
from .lab import Lab
from .network import CONTROLLER
from .weights import GGUF, PULLED, REPO, gguf, hub_on, pin

TOKEN = "geheimes-token"
NAME = f"homeport.pull.{REPO.replace('/', '--')}"
FOLDER = f"/home/ops/.homeport/weights/{REPO}"


def weights(number: int = 0) -> bytes:
    """A model that serves; its last byte, in a table of numbers, makes it another one."""
    return gguf()[:-1] + bytes([number])


@pytest.fixture(scope="module")
def hub(lab: Lab) -> Iterator[Hub]:
    with hub_on(lab) as hub:
        hub.commit(REPO, {GGUF: weights()})
        assert pin(lab).status == 0
        yield hub


@pytest.fixture(scope="module")
def mirror(lab: Lab, hub: Hub) -> Iterator[Hub]:
    """The same repository where a token is asked for: a mirror may be asked over plain http."""
    with lab.network.entered():
        mirror = Hub(listen=CONTROLLER)
    with mirror:
        mirror.commit(REPO, {GGUF: weights()})
        mirror.add_token(TOKEN, may_see=(REPO,))
        mirror.require_token(REPO)
        yield mirror


@pytest.fixture(scope="module")
def gpu(lab: Lab) -> Host:
    return lab.host("gpu")


def fleet(lab: Lab, gpu: Host, mirror: Hub, token: str = TOKEN) -> Path:
    (lab.project / "mirror.token").write_text(f"{token}\n")
    place = urlsplit(mirror.url)
    spec = {"host": place.hostname, "port": place.port, "token_file": "mirror.token"}
    return lab.inventory({"laptops": [gpu]}, user="ops", routes=PULLED, mirror=spec)


def revision(gpu: Host) -> str:
    return gpu.file(f"{FOLDER}/current").readlink().name


def test_a_disk_that_is_too_small_is_found_before_anything_is_changed(
    lab: Lab, gpu: Host, mirror: Hub
) -> None:
    before = gpu.tree()
    gpu.fill_disk(leave=5_000_000)
    run = lab.deploy(fleet(lab, gpu, mirror))
    gpu.free_disk()
    assert run.status == 1
    said = rf"has \d\.\d MB free, and 98\.4 MB of {REPO} are still to come\. See"
    assert re.search(said, run.output), run.output
    assert gpu.difference(before) == {}


def test_a_token_that_the_server_does_not_know(lab: Lab, gpu: Host, mirror: Hub) -> None:
    run = lab.deploy(fleet(lab, gpu, mirror, token="falsches-token"))
    assert run.status == 1
    words = f"{REPO}: the mirror at {mirror.url} takes another token. Deploy it first, with"
    assert run.of("gpu")[-1].startswith(words)
    assert "falsches" not in run.of("gpu")[-1]


def test_the_token_goes_to_its_server_and_nowhere_else(lab: Lab, gpu: Host, mirror: Hub) -> None:
    mirror.requests.clear()
    mirror.fault(GGUF, Trickle(after=0, bytes_per_second=2_000_000))
    running = lab.start(fleet(lab, gpu, mirror), "-vvv", "--diff")
    unit = gpu.file(f"/home/ops/.config/systemd/user/{NAME}.service")
    tokens = gpu.file(f"/home/ops/.homeport/service/{NAME.removeprefix('homeport.')}.tokens")
    progress = gpu.file(f"{FOLDER}/.homeport/progress.json")
    wait_until(lambda: progress.exists() and '"pulling"' in progress.read_text())
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
    written = unit.read_text()
    assert f"LoadCredential={tokens.name}:" in written
    pid = gpu.service(f"{NAME}.service", user="ops").pid
    seen = gpu.run(f"cat /proc/{pid}/cmdline /proc/{pid}/environ | tr '\\0' '\\n'")
    assert "CREDENTIALS_DIRECTORY=" in seen
    shown = progress.read_text()
    mirror.faults.clear()
    run = running.wait()
    assert run.status == 0, run.output
    log = gpu.run(f"journalctl --user -u {NAME} -o cat", user="ops")
    assert "complete" in log
    assert not [text for text in (run.output, seen, log, written, shown) if TOKEN in text]
    assert {one.authorization for one in mirror.requests} == {f"Bearer {TOKEN}"}
    assert not tokens.exists()
    assert not unit.exists()


def test_the_weights_are_there_and_said_to_be(lab: Lab, gpu: Host, mirror: Hub) -> None:
    assert gpu.file(f"{FOLDER}/{revision(gpu)}/{GGUF}").read_bytes() == weights()
    mirror.requests.clear()
    run = lab.deploy(fleet(lab, gpu, mirror))
    assert run.of("gpu")[:2] == [
        "no changes",
        f"{REPO} is complete and verified: 1 files, 98.4 MB, revision {revision(gpu)[:12]}",
    ]
    assert mirror.requests == []


def next_revision(lab: Lab, hub: Hub, mirror: Hub, number: int) -> str:
    """Other bytes under the same name, at both servers, and pinned."""
    files = {GGUF: weights(number)}
    commit = hub.commit(REPO, files)
    assert mirror.commit(REPO, files) == commit
    assert pin(lab).status == 0
    return commit


def start_and_kill(lab: Lab, gpu: Host, mirror: Hub, commit: str) -> None:
    """A deploy that is gone while its pull of `commit` is at work, which goes on slowly."""
    mirror.fault(GGUF, Trickle(after=0, bytes_per_second=2_000_000))
    running = lab.start(fleet(lab, gpu, mirror))
    part = gpu.file(f"{FOLDER}/{commit}/{GGUF}.homeport-part")
    wait_until(lambda: part.exists() and part.stat().st_size > 500_000)
    running.kill()


def left(gpu: Host) -> str:
    """What there is of the service that pulls."""
    places = ".config/systemd/user .homeport/service"
    return gpu.run(f"find {places} -name '*pull.*'", user="ops")


def test_a_pull_that_ended_when_nobody_looked(lab: Lab, hub: Hub, gpu: Host, mirror: Hub) -> None:
    """The next run finds all complete, and takes away the service and its token."""
    commit = next_revision(lab, hub, mirror, 1)
    start_and_kill(lab, gpu, mirror, commit)
    mirror.faults.clear()
    wait_until(lambda: revision(gpu) == commit)
    assert ".tokens" in left(gpu)
    mirror.requests.clear()
    run = lab.deploy(fleet(lab, gpu, mirror))
    assert run.status == 0, run.output
    assert left(gpu) == ""
    assert mirror.requests == []
    assert lab.deploy(fleet(lab, gpu, mirror)).of("gpu")[0] == "no changes"


def test_a_pin_that_is_taken_back_while_it_is_pulled(
    lab: Lab, hub: Hub, gpu: Host, mirror: Hub
) -> None:
    """What is not wanted any more does not become the current one behind everybody's back."""
    wanted = revision(gpu)
    start_and_kill(lab, gpu, mirror, next_revision(lab, hub, mirror, 2))
    assert pin(lab, "pulled", "--revision", wanted).status == 0
    run = lab.deploy(fleet(lab, gpu, mirror))
    assert run.status == 0, run.output
    assert left(gpu) == ""
    assert revision(gpu) == wanted
    assert gpu.run("pgrep -f [p]ull.py", check=False) == ""
    assert lab.deploy(fleet(lab, gpu, mirror)).of("gpu")[0] == "no changes"


def test_weights_that_nothing_needs_are_named_and_kept(lab: Lab, gpu: Host, mirror: Hub) -> None:
    gpu.run("mkdir -p .homeport/weights/zai-org/GLM-4.5-FP8", user="ops")
    said = lab.deploy(fleet(lab, gpu, mirror)).of("gpu")
    assert (
        "zai-org/GLM-4.5-FP8 is not needed here any more: "
        "rm -r /home/ops/.homeport/weights/zai-org/GLM-4.5-FP8"
    ) in said


def test_removal_needs_no_pins_and_leaves_nothing(lab: Lab, gpu: Host, mirror: Hub) -> None:
    lock = lab.project / "weights.lock.json"
    text = lock.read_text()
    lock.unlink()
    run = lab.remove(fleet(lab, gpu, mirror))
    lock.write_text(text)
    assert run.status == 0, run.output
    assert not gpu.file("/home/ops/.homeport").exists()


def test_a_mac_pulls_by_launchd(lab: Lab, hub: Hub) -> None:
    """The agent is there until the weights are; another run joins it."""
    mac = lab.mac("mac")
    before = mac.tree()
    apple = lab.inventory({"laptops": [mac]}, name="apple", routes=PULLED)
    commit = hub.commit(REPO, {GGUF: gguf()})
    assert pin(lab).status == 0
    hub.fault(GGUF, Trickle(after=0, bytes_per_second=2_000_000))
    running = lab.start(apple)
    plist = mac.file(f"/Users/anna/Library/LaunchAgents/{NAME}.plist")
    part = mac.file(f"/Users/anna/.homeport/weights/{REPO}/{commit}/{GGUF}.homeport-part")
    wait_until(lambda: part.exists() and part.stat().st_size > 1_000_000)
    assert plist.exists()
    running.kill()
    second = lab.start(apple)
    second.wait_for("is being pulled already, as process ")
    hub.faults.clear()
    run = second.wait()
    assert run.status == 0, run.output
    assert run.of("mac")[1].startswith(f"{REPO} is complete and verified: 1 files, 98.4 MB")
    assert not plist.exists()
    assert lab.deploy(apple).of("mac")[0] == "no changes"
    assert lab.remove(apple).status == 0
    assert {path for path in mac.difference(before) if "/log/" not in path} == set()
