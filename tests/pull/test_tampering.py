"""What is not as it was proven to be is found, and only that is mended."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ..hub import Hub
from .puller import REPO, Puller, fetched, found, hashes, pins, some_bytes

FILES = {
    "a.safetensors": some_bytes(300_000, "a"),
    "b.safetensors": some_bytes(300_000, "b"),
    "folder/c.json": b'{"key": "value"}',
}


def quietly(change: Callable[[Path], None], path: Path) -> None:
    """With the time of change put back, as a bad disk does it."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.fixture
def desired(hub: Hub, puller: Puller) -> Path:
    """Complete already."""
    commit = hub.commit(REPO, FILES)
    desired = puller.desired(hub, commit, pins(hub, commit))
    assert puller.pull(desired).status == 0
    hub.requests.clear()
    return desired


@pytest.mark.parametrize("path", ["a.safetensors", "folder/c.json"])
@pytest.mark.parametrize("change", [cut, alter, Path.unlink, replace_by_link])
def test_a_changed_file_is_fetched_again(
    hub: Hub, puller: Puller, desired: Path, change: Callable[[Path], None], path: str
) -> None:
    change(puller.current / path)
    state = puller.status()
    assert (state["state"], state["bad"]) == ("incomplete", [path])
    done = puller.pull(desired)
    assert done.status == 0
    assert fetched(hub) == {path: len(FILES[path])}
    assert found(puller.current) == hashes(FILES)
    assert puller.status("--deep")["state"] == "complete"
    if change is not Path.unlink:
        note = f"{path} is not what it should be, and is fetched again"
        assert note in puller.progress()["notes"]


def test_a_file_cut_with_its_time_kept(hub: Hub, puller: Puller, desired: Path) -> None:
    quietly(cut, puller.current / "b.safetensors")
    assert puller.status()["bad"] == ["b.safetensors"]
    assert puller.pull(desired).status == 0
    assert found(puller.current) == hashes(FILES)


def test_a_byte_changed_with_the_time_kept_is_found_by_deep(
    hub: Hub, puller: Puller, desired: Path
) -> None:
    quietly(alter, puller.current / "b.safetensors")
    assert puller.status()["state"] == "complete", "size and time are as they were"
    assert puller.status("--deep")["bad"] == ["b.safetensors"]
    assert puller.pull(desired, "--deep").status == 0
    assert fetched(hub) == {"b.safetensors": 300_000}
    assert found(puller.current) == hashes(FILES)
    assert puller.status("--deep")["state"] == "complete"


def test_a_directory_instead_of_a_file(hub: Hub, puller: Puller, desired: Path) -> None:
    """It is somebody's, so it is not removed, and never taken for the file."""
    other = puller.current / "copy.json"
    other.write_bytes(FILES["folder/c.json"])
    replace_by_directory(puller.current / "folder/c.json")
    assert puller.status()["bad"] == ["folder/c.json"]
    done = puller.pull(desired)
    assert done.status == 2
    assert "cannot be written (Is a directory)" in done.words


def test_a_directory_instead_of_a_file_that_is_elsewhere(hub: Hub, puller: Puller) -> None:
    """As above, where the file need not be fetched since an earlier revision has it."""
    first = hub.commit(REPO, FILES)
    assert puller.pull(puller.desired(hub, first)).status == 0
    second = hub.commit(REPO, FILES | {"d.json": b"4"})
    (puller.destination / second / "a.safetensors").mkdir(parents=True)
    done = puller.pull(puller.desired(hub, second))
    assert done.status == 2
    assert "cannot be written (Is a directory)" in done.words


def test_a_hard_link_does_not_vouch_for_a_changed_file(hub: Hub, puller: Puller) -> None:
    """What an earlier revision has is linked only where it is as it was."""
    first = hub.commit(REPO, FILES)
    assert puller.pull(puller.desired(hub, first)).status == 0
    alter(puller.current / "a.safetensors")
    second = hub.commit(REPO, FILES | {"d.json": b"4"})
    hub.requests.clear()
    assert puller.pull(puller.desired(hub, second, pins(hub, second))).status == 0
    assert fetched(hub) == {"a.safetensors": 300_000, "d.json": 1}
    assert found(puller.current) == hashes(FILES | {"d.json": b"4"})


@pytest.mark.parametrize("loss", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_lost_manifest_costs_reading_and_no_fetching(
    hub: Hub, puller: Puller, desired: Path, loss: Callable[[Path], None]
) -> None:
    """Gone, or empty after a power cut."""
    loss(puller.destination / f".homeport/{puller.current.readlink()}.json")
    assert puller.status()["state"] == "incomplete"
    assert puller.pull(desired).status == 0
    assert not hub.requests
    assert puller.status()["state"] == "complete"


def test_a_lost_manifest_and_a_changed_file(hub: Hub, puller: Puller, desired: Path) -> None:
    (puller.destination / f".homeport/{puller.current.readlink()}.json").unlink()
    quietly(alter, puller.current / "a.safetensors")
    assert puller.pull(desired).status == 0
    assert fetched(hub) == {"a.safetensors": 300_000}
    assert found(puller.current) == hashes(FILES)


@pytest.mark.parametrize("content", [b"", b'{"state": "pul'])
def test_a_lost_progress(puller: Puller, desired: Path, content: bytes) -> None:
    (puller.destination / ".homeport/progress.json").write_bytes(content)
    assert puller.progress() == {"state": "none"}
    assert puller.pull(desired).status == 0


def test_a_part_with_wrong_bytes_is_thrown_away(hub: Hub, puller: Puller, desired: Path) -> None:
    """A power cut can leave zeros where the length was written and the bytes were not."""
    target = puller.current / "a.safetensors"
    for size in (1000, 300_000, 300_001):
        target.unlink()
        target.with_name("a.safetensors.homeport-part").write_bytes(bytes(size))
        assert puller.pull(desired).status == 0
        assert found(puller.current) == hashes(FILES)
        assert not puller.orphans()


def test_a_lost_link(hub: Hub, puller: Puller, desired: Path) -> None:
    puller.current.unlink()
    assert puller.status()["state"] == "missing"
    assert puller.pull(desired).status == 0
    assert found(puller.current) == hashes(FILES)
    assert not hub.requests


@pytest.mark.parametrize("text", ["", "{", '"x"', "[1]", '{"a": 1}', '{"files": 3}'])
@pytest.mark.parametrize("name", ["manifest", "progress"])
def test_records_that_are_damaged_in_whatever_way(
    hub: Hub, puller: Puller, name: str, text: str
) -> None:
    """Nothing is fetched again, and nobody sees a traceback."""
    commit = hub.commit(REPO, FILES)
    desired = puller.desired(hub, commit, pins(hub, commit))
    assert puller.pull(desired).status == 0
    record = commit if name == "manifest" else "progress"
    (puller.destination / ".homeport" / f"{record}.json").write_text(text)
    hub.requests.clear()
    puller.progress()
    assert puller.status()["state"] == ("incomplete" if name == "manifest" else "complete")
    assert puller.pull(desired).status == 0
    assert fetched(hub) == {}
    assert puller.status()["state"] == "complete"
