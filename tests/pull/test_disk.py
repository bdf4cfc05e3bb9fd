"""A disk that is too small, before and during a pull."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import missing
from ..hub import Hub
from .puller import QUICK, REPO, Puller, found, hashes, pins, some_bytes

FILES = {"a.safetensors": some_bytes(30_000_000), "b.json": b"{}"}
ROOMY = "shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**15, 0, 10**15)"


@pytest.fixture
def small_disk(puller: Puller) -> Iterator[Path]:
    """The destination is the root of a disk of 20 MB."""
    if os.geteuid() != 0:
        missing("to mount a small disk needs root")
    puller.destination.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(puller.destination)]
    if subprocess.run(words).returncode:
        missing("nothing can be mounted here")
    try:
        yield puller.destination
    finally:
        subprocess.run(["umount", str(puller.destination)], check=True)


def test_too_small_is_said_before_the_first_byte(hub: Hub, puller: Puller) -> None:
    commit = hub.commit(REPO, FILES)
    full = "shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**9, 10**9, 50_000_000)"
    done = puller.pull(puller.desired(hub, commit, pins(hub, commit)), before=full)
    assert done.status == 2
    # The file, a hundredth of it, and 100 MB to spare.
    assert "130.3 MB are needed and 50.0 MB are free" in done.words
    assert f"the disk of {puller.destination} is too small" in done.words
    assert f"df -h {puller.destination}" in done.words
    assert not hub.requests
    assert puller.pull(puller.desired(hub, commit)).status == 0


def test_too_small_says_what_else_is_there(hub: Hub, puller: Puller) -> None:
    first = hub.commit(REPO, {"a.json": b"1"})
    assert puller.pull(puller.desired(hub, first)).status == 0
    full = "shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**9, 10**9, 0)"
    done = puller.pull(puller.desired(hub, hub.commit(REPO, FILES)), before=full)
    assert f"earlier revisions are in {puller.destination / first}" in done.words
    assert found(puller.current) == hashes({"a.json": b"1"}), "what was there is there"


def test_what_is_there_already_needs_no_room(hub: Hub, puller: Puller) -> None:
    commit = hub.commit(REPO, FILES)
    desired = puller.desired(hub, commit, pins(hub, commit))
    assert puller.pull(desired).status == 0
    full = "shutil.disk_usage = lambda path: shutil._ntuple_diskusage(10**9, 10**9, 0)"
    assert puller.pull(desired, "--deep", before=full).status == 0


def test_a_disk_that_fills_up(hub: Hub, puller: Puller, small_disk: Path) -> None:
    commit = hub.commit(REPO, FILES)
    desired = puller.desired(hub, commit, pins(hub, commit))
    done = puller.pull(desired, before=ROOMY)
    assert done.status == 2
    snapshot = puller.destination / commit
    assert f"the disk of {snapshot} is full. Make room, see: df -h {snapshot}" in done.words
    assert not (snapshot / "a.safetensors").exists()
    kept = sum(Path(part).stat().st_size for part in puller.orphans())
    assert kept > 15_000_000
    subprocess.run(["mount", "-o", "remount,size=60m", str(small_disk)], check=True)
    done = puller.pull(desired, limits=QUICK | {"MARGIN": 0})
    assert (done.status, done.words) == (0, "")
    assert found(puller.current) == hashes(FILES)
    assert [r.range for r in hub.requests if r.range] == [f"bytes={kept}-"], "it went on"


def test_a_disk_that_is_full_from_the_start(hub: Hub, puller: Puller, small_disk: Path) -> None:
    with (small_disk / "filler").open("wb") as filler, pytest.raises(OSError, match="No space"):
        while True:
            filler.write(bytes(65536))
            filler.flush()
    commit = hub.commit(REPO, FILES)
    done = puller.pull(puller.desired(hub, commit, pins(hub, commit)), before=ROOMY)
    assert done.status == 2, done.words
    assert f"Make room, see: df -h {small_disk}" in done.words


@pytest.mark.parametrize("name", ["a.safetensors", ".homeport", "current"])
def test_something_in_the_way(hub: Hub, puller: Puller, name: str) -> None:
    """A directory or a file where a file or a directory has to be."""
    commit = hub.commit(REPO, {"a.safetensors": b"1"})
    way = puller.destination / (commit if name.startswith("a.") else "") / name
    way.parent.mkdir(parents=True)
    if name == ".homeport":
        way.write_text("")
    else:
        way.mkdir()
        (way / "something").write_text("")
    done = puller.pull(puller.desired(hub, commit))
    assert done.status == 2
    assert "cannot be written (" in done.words
    assert "Traceback" not in done.words
