"""Sizes at which something may overflow, or fill the memory."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..conftest import IN_CI, missing
from ..hub import Hub, Reset, Sparse
from .puller import REPO, Puller, fetched, pins

GIB = 2**30

slow = pytest.mark.skipif(
    not IN_CI and not os.environ.get("HOMEPORT_SLOW"),
    reason="slow: it writes and reads 4 GB. To run it: HOMEPORT_SLOW=1",
)

#: Tells the most memory that the process ever had, when it ends.
TELL_MEMORY = """
import atexit
def tell():
    [line] = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print("memory:", line.split()[1], flush=True)
atexit.register(tell)
"""


@pytest.fixture
def roomy(puller: Puller) -> Iterator[Puller]:
    """A destination with room for large files, that is emptied afterwards."""
    if shutil.disk_usage(puller.folder).free < 7 * GIB:
        missing("7 GiB have to be free")
    yield puller
    shutil.rmtree(puller.destination, ignore_errors=True)


def memory(said: str) -> float:
    """In MB."""
    return int(said.rpartition("memory: ")[2].split()[0]) * 1024 / 1e6


@slow
def test_a_file_of_more_than_4_gib(hub: Hub, roomy: Puller) -> None:
    """Resumed beyond 4 GiB."""
    size = 4 * GIB + 2**26
    marks = {0: b"start", 2**32 - 2: b"four", size - 3: b"end"}
    commit = hub.commit(REPO, {"large.gguf": Sparse(size, marks)})
    hub.fault("large.gguf", Reset(2**32 + 12_345), host="cdn")
    pinned = pins(hub, commit)
    desired = roomy.desired(hub, commit, pinned)
    done = roomy.start("pull", desired, before=TELL_MEMORY).wait(900)
    assert (done.status, done.words) == (0, "")
    path = roomy.current / "large.gguf"
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        assert found == pinned["large.gguf"]["sha256"]
        for offset, mark in marks.items():
            file.seek(offset)
            assert file.read(len(mark)) == mark
    assert path.stat().st_size == size
    assert fetched(hub)["large.gguf"] <= size + 8 * 2**20, "it went on beyond 4 GiB"
    print(f"{done.seconds:.1f} s, {memory(done.said):.0f} MB of memory")
    assert memory(done.said) < 400


def test_memory_of_many_at_once(hub: Hub, roomy: Puller) -> None:
    files = {f"{n}.gguf": Sparse(50_000_000, {n: b"mark"}) for n in range(10)}
    commit = hub.commit(REPO, files)
    desired = roomy.desired(hub, commit, pins(hub, commit))
    done = roomy.start("pull", desired, before=TELL_MEMORY).wait()
    assert (done.status, done.words) == (0, "")
    for number in range(10):
        expected = bytearray(50_000_000)
        expected[number : number + 4] = b"mark"
        assert Path(roomy.current / f"{number}.gguf").read_bytes() == expected
    print(f"{memory(done.said):.0f} MB of memory")
    assert memory(done.said) < 400
