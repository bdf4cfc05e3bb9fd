"""A laptop whose model is pulled from a Hub, from first deploy to removal: in this order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..hub import Hub
from .host import Host
from .lab import Lab
from .weights import GGUF, PULLED, REPO, gguf, hub_on, pin

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
