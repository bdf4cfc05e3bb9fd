"""`make pin` and the shipped example fleet, as a newcomer meets them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..hub import Hub
from ..running import Run, copy_project
from .conftest import Machine

GLM = "zai-org/GLM-5.2-FP8"
GEMMA = "yuxinlu1/gemma-4-12B-coder-fable5-composer2.5-v1-GGUF"


@pytest.fixture
def machine(machine: Machine) -> Machine:
    """With a copy of the project, whose settings these tests change."""
    machine.project = copy_project(machine.home.parent / "project")
    lock(machine).unlink(missing_ok=True)
    return machine


def make_pin(machine: Machine, *variables: str) -> Run:
    return machine.run("make", "pin", f"VENV={sys.prefix}", *variables)


@pytest.fixture
def hub(machine: Machine) -> Iterator[Hub]:
    """A Hub on loopback that has the catalog's repositories, and that group data points to."""
    with Hub() as hub:
        hub.commit(
            GLM,
            {
                "README.md": b"# GLM",
                "config.json": b"{}",
                "chat_template.jinja": b"[gMASK]",
                "model-00001-of-00002.safetensors": b"1" * 1000,
                "model-00002-of-00002.safetensors": b"2" * 1000,
            },
        )
        hub.commit(GEMMA, {"g-F16.gguf": b"16", **quants(Q4_K_M=b"4" * 1000)})
        group_data = machine.project / "group_data" / "all.py"
        text = group_data.read_text()
        assert 'hub_endpoint = "https://huggingface.co"' in text
        group_data.write_text(text.replace("https://huggingface.co", hub.url))
        yield hub


def quants(**contents: bytes) -> dict[str, bytes]:
    """A file for each quant that the catalog knows, most of them the same at all times."""
    names = ("Q2_K", "Q3_K_M", "Q4_K_M", "Q6_K", "Q8_0")
    return {f"g-{name}.gguf": contents.get(name, name.encode()) for name in names}


def lock(machine: Machine) -> Path:
    return machine.project / "weights.lock.json"


def test_the_plan_of_the_example_fleet(machine: Machine, hub: Hub) -> None:
    """The README's first two commands, in its order and in the other."""
    plan = ("inventory/prod.py", "deploy.py", "--dry")
    early = machine.pyinfra(*plan)
    assert early.status == 1
    assert f"routes['claude-glm'].weights is '{GLM}': weights.lock.json has no pin" in early.output
    assert "Type: make pin, and commit that file." in early.output
    assert make_pin(machine).status == 0
    late = machine.pyinfra(*plan)
    assert late.status == 0, late.output
    assert f"Pull {GLM}" in late.output
    assert f"Pull {GEMMA}" in late.output


def test_what_is_pinned(machine: Machine, hub: Hub) -> None:
    run = make_pin(machine)
    assert run.status == 0, run.output
    pinned = json.loads(lock(machine).read_text())
    assert sorted(pinned[GLM]["files"]) == [
        "chat_template.jinja",
        "config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert sorted(pinned[GEMMA]["files"]) == sorted(quants())
    for repo, one in pinned.items():
        for path, file in hub.files(repo, one["revision"]).items():
            if path in one["files"]:
                known = {"sha256": file.sha256} if file.sha256 else {"git_sha1": file.git_sha1}
                assert one["files"][path] == {"size": file.size, **known}
    assert "look it over" in run.output.lower()


def test_a_pin_that_changes_can_be_reviewed(machine: Machine, hub: Hub) -> None:
    assert make_pin(machine).status == 0
    before = lock(machine).read_text()
    hub.commit(GEMMA, quants(Q4_K_M=b"5" * 2000))
    run = make_pin(machine, "MODEL=gemma-4-12b-coder")
    assert f"{GEMMA}: " in run.output
    assert "  ~ g-Q4_K_M.gguf (0.0 MB -> 0.0 MB, sha256 " in run.output
    assert GLM not in run.output
    old, new = before.splitlines(), lock(machine).read_text().splitlines()
    changed = [line for line in new if line not in old]
    assert len(changed) == 2, "the commit and the file, a line each"


def test_an_earlier_commit_can_be_pinned(machine: Machine, hub: Hub) -> None:
    assert make_pin(machine).status == 0
    first = json.loads(lock(machine).read_text())[GEMMA]["revision"]
    hub.commit(GEMMA, quants(Q4_K_M=b"5" * 2000))
    assert make_pin(machine).status == 0
    assert json.loads(lock(machine).read_text())[GEMMA]["revision"] != first
    run = make_pin(machine, "MODEL=gemma-4-12b-coder", f"REVISION={first}")
    assert run.status == 0, run.output
    assert json.loads(lock(machine).read_text())[GEMMA]["revision"] == first


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("MODEL=gemma",), "homeport: no model 'gemma' comes from the Hub. Known are glm-5.2-fp8,"),
        (("REVISION=main2",), "homeport: a revision is one model's: make pin MODEL=... REVISION="),
        (("MODEL=glm-5.2-fp8", "REVISION=v9"), "has no revision v9"),
    ],
)
def test_what_cannot_be_pinned(
    machine: Machine, hub: Hub, options: tuple[str, ...], sentence: str
) -> None:
    run = make_pin(machine, *options)
    assert run.status != 0
    assert sentence in run.output
    assert "Traceback" not in run.output
    assert not lock(machine).exists()


def test_what_the_hub_lacks_does_not_stop_the_rest(machine: Machine, hub: Hub) -> None:
    hub.commit(GLM, {"README.md": b"# empty"})
    run = make_pin(machine)
    assert run.status != 0
    assert f"homeport: {GLM} is not pinned: nothing in {GLM} at " in run.output
    assert "It has README.md" in run.output
    assert list(json.loads(lock(machine).read_text())) == [GEMMA]


def test_a_hub_that_cannot_be_reached(machine: Machine, hub: Hub) -> None:
    hub.stop_listening()
    run = make_pin(machine)
    assert run.status != 0
    assert "Connection refused" in run.output
    assert "Traceback" not in run.output
    assert not lock(machine).exists()
