"""What the doctor finds wrong with weights, which remote/pull.py left there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeport.doctor import weights as looking
from homeport.doctor.table import Report
from homeport.doctor.wanted import SYSTEM, Weights
from homeport.doctor.weights import AREA
from homeport.remote.pull import Place, digest, file_of

from .doctoring import SERVICE, WANTED, Machine, names, serving

DIRECTORY = f"{WANTED.directory}/weights/team/model"
FIRST, SECOND, THIRD = "1" * 40, "2" * 40, "3" * 40
FILES = {"model.gguf": b"weights" * 1000, "config.json": b"{}"}


class Pulled(Machine):
    """A machine with the files of a revision, proven; `weights` is what is wanted."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.top = self.root / DIRECTORY.lstrip("/")
        self.weights = self.revision(FIRST)

    def revision(self, name: str, current: bool = True, previous: str | None = None) -> Weights:
        place = Place(self.top, name)
        place.state.mkdir(parents=True, exist_ok=True)
        manifest: dict[str, Any] = {"files": {}, "previous": previous}
        listed = []
        for path, content in FILES.items():
            file = place.snapshot / path
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
            spec = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            manifest["files"][path] = {**spec, "mtime_ns": file.stat().st_mtime_ns}
            listed.append(file_of(path, spec))
        manifest["digest"] = digest("team/model", name, listed)
        place.write_manifest(manifest)
        if current:
            place.current.unlink(missing_ok=True)
            place.current.symlink_to(name)
        size = sum(map(len, FILES.values()))
        return Weights(DIRECTORY, "team/model", name, manifest["digest"], size)

    def progress(self, **values: Any) -> None:
        state = self.top / ".homeport"
        state.mkdir(parents=True, exist_ok=True)
        (state / "progress.json").write_text(json.dumps(values))

    @contextmanager
    def pulling(self, **values: Any) -> Iterator[None]:
        """A pull is at work: it holds its lock."""
        self.progress(**values)
        with (self.top / ".homeport" / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def examined(self, deep: bool = False, **change: Any) -> Report:
        weights = replace(self.weights, **change)
        service = replace(SERVICE, weights=weights)
        return self.look(AREA, serving(service), deep=deep)


@pytest.fixture
def machine(tmp_path: Path) -> Pulled:
    return Pulled(tmp_path)


@pytest.mark.parametrize("deep", [False, True])
def test_healthy_weights(machine: Pulled, deep: bool) -> None:
    report = machine.examined(deep)
    assert report.is_healthy, report
    assert report.facts == {"claude-fable5": {"weights": FIRST[:12]}}


def test_a_machine_without_weights(machine: Pulled) -> None:
    assert machine.look(AREA, serving()).is_healthy


@pytest.mark.parametrize("deep", [False, True])
def test_a_healthy_mirror(machine: Pulled, deep: bool) -> None:
    report = machine.look(AREA, replace(WANTED, mirrored=(machine.weights,)), deep=deep)
    assert report.is_healthy, report
    assert report.facts == {"team/model": {"weights": FIRST[:12]}}


def test_a_mirror_that_serves_them_itself(machine: Pulled) -> None:
    service = replace(SERVICE, weights=machine.weights)
    (machine.top / "current/model.gguf").unlink()
    both = replace(serving(service), mirrored=(machine.weights,))
    assert [one.about for one in machine.look(AREA, both).findings] == ["claude-fable5"]


def test_a_mirror_with_something_wrong(machine: Pulled) -> None:
    wanted = replace(WANTED, mirrored=(machine.weights,))
    os.truncate(machine.top / "current/model.gguf", 10)
    (found,) = machine.look(AREA, wanted).findings
    assert (found.check, found.about) == ("weights-changed", "team/model")
    assert found.symptom == "team/model was changed here: hosts that pull it refuse it"
    (machine.top / "current/model.gguf").unlink()
    (found,) = machine.look(AREA, wanted).findings
    assert found.symptom == ("team/model is not there, or not whole: no host can pull it from here")
    new = replace(machine.weights, revision=SECOND, digest="another")
    found = machine.look(AREA, replace(wanted, mirrored=(new,))).findings[-1]
    assert found.symptom == f"the mirror serves revision {FIRST[:12]} of team/model"


def test_weights_that_a_mirror_keeps(machine: Pulled, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch)
    assert machine.look(AREA, replace(WANTED, mirrored=(machine.weights,))).is_healthy


def test_weights_that_never_came(machine: Pulled) -> None:
    shutil.rmtree(machine.top)
    (found,) = machine.examined().findings
    assert found.check == "weights-missing"
    assert found.symptom == (
        "the server of claude-fable5 does not start: team/model is not there, or not whole"
    )


def test_a_file_that_is_gone(machine: Pulled) -> None:
    (machine.top / "current/model.gguf").unlink()
    (found,) = machine.examined().findings
    assert (found.check, found.detail) == ("weights-missing", "model.gguf")


def test_a_file_that_was_cut_short(machine: Pulled) -> None:
    os.truncate(machine.top / "current/model.gguf", 10)
    (found,) = machine.examined().findings
    assert (found.check, found.detail) == ("weights-changed", "model.gguf")


def test_bytes_that_turned_over(machine: Pulled) -> None:
    """Size and time are as they were: only reading it all shows it."""
    file = machine.top / "current/model.gguf"
    before = file.stat()
    with file.open("r+b") as content:
        content.write(b"X")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert machine.examined().is_healthy
    (found,) = machine.examined(deep=True).findings
    assert (found.check, found.detail) == ("weights-corrupt", "model.gguf")
    typed = f"touch {DIRECTORY}/current/model.gguf; then run the deploy again"
    assert found.fix.startswith(typed)
    service = replace(SERVICE, weights=machine.weights)
    (found,) = machine.look(AREA, serving(service, manager=SYSTEM), deep=True).findings
    assert found.fix.startswith(f"sudo {typed}")


def test_a_new_pin_that_was_not_pulled(machine: Pulled) -> None:
    (found,) = machine.examined(revision=SECOND, digest="another").findings
    assert (found.check, found.detail) == ("old-weights", f"{SECOND[:12]} is pinned")
    assert found.symptom == f"claude-fable5 serves revision {FIRST[:12]} of team/model"


def test_more_files_of_the_same_revision(machine: Pulled) -> None:
    assert names(machine.examined(digest="another")) == ["weights-missing"]


def test_a_pull_at_work(machine: Pulled) -> None:
    state = {"state": "pulling", "bytes_done": 25, "bytes_total": 100, "rate": 8_000_000}
    with machine.pulling(**state):
        (found,) = machine.examined(revision=SECOND, digest="another").findings
        assert (found.check, found.detail) == ("pull-at-work", "8.0 MB in a second")
        assert found.symptom == "team/model is being pulled: 25 % are there"
    # The same, ended by a kill.
    assert names(machine.examined(revision=SECOND, digest="x")) == ["pull-interrupted"]


def test_a_pull_that_failed(machine: Pulled) -> None:
    machine.progress(state="failed", message="team/model is gated. Accept its licence", final=True)
    (found,) = machine.examined(revision=SECOND, digest="another").findings
    assert (found.check, found.detail) == ("pull-failed", "team/model is gated. Accept its licence")
    assert machine.examined().is_healthy, "what is wanted is there, however it came"


def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_free", lambda directory: 100)


def test_abandoned_revisions(machine: Pulled, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.revision(SECOND, current=False)
    machine.weights = machine.revision(THIRD, previous=FIRST)
    assert machine.examined().is_healthy, "there is room"
    short(monkeypatch)
    (found,) = machine.examined().findings
    assert (found.check, found.detail) == ("abandoned-revisions", SECOND[:12])
    # That before the last is kept on purpose.
    shutil.rmtree(machine.top / SECOND)
    (machine.top / ".homeport" / f"{SECOND}.json").unlink()
    assert machine.examined().is_healthy


def test_abandoned_weights(machine: Pulled, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch)
    other = f"{WANTED.directory}/weights/team/old model"
    machine.file(f"{other}/{FIRST}/model.gguf", "old")
    (found,) = machine.examined().findings
    assert (found.check, found.fix) == ("abandoned-weights", f"rm -r '{other}'")
    service = replace(SERVICE, weights=machine.weights)
    found = machine.look(AREA, serving(service, manager=SYSTEM)).findings[0]
    assert found.fix == f"sudo rm -r '{other}'"


@pytest.mark.parametrize(
    "file", [SERVICE.definition, f"{WANTED.directory}/state/previous", "/proc/77/cmdline"]
)
def test_weights_that_a_server_runs_from(
    machine: Pulled, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    short(monkeypatch)
    other = f"{WANTED.directory}/weights/team/old"
    machine.file(f"{other}/{FIRST}/model.gguf", "old")
    machine.file(file, f"serve --model {other}/{FIRST}\n")
    assert machine.examined().is_healthy


def test_weights_that_are_being_pulled(machine: Pulled, monkeypatch: pytest.MonkeyPatch) -> None:
    short(monkeypatch)
    other = f"{WANTED.directory}/weights/team/new"
    machine.file(f"{other}/{FIRST}/model.gguf.homeport-part", "new")
    pull = {"repo": "team/new", "destination": other}
    machine.file(f"{WANTED.directory}/service/pull.team--new.json", json.dumps(pull))
    assert machine.examined().is_healthy
