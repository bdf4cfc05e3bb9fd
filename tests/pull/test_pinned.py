"""What is pinned is what is there in the end, whatever a server says."""

from __future__ import annotations

import pytest

from ..hub import Hub
from .puller import REPO, Puller, found, hashes, pins, some_bytes, times_fetched

FILES = {"config.json": b"{}", "a.safetensors": some_bytes(50_000, "a")}


def listings(hub: Hub) -> int:
    return sum(request.path.startswith("/api/") for request in hub.requests)


def test_pinned_files_need_no_listing(hub: Hub, puller: Puller) -> None:
    commit = hub.commit(REPO, FILES)
    assert puller.pull(puller.desired(hub, commit, pins(hub, commit))).status == 0
    assert found(puller.current) == hashes(FILES)
    assert listings(hub) == 0


def test_without_pins_the_listing_is_read_page_by_page(hub: Hub, puller: Puller) -> None:
    many = {f"{n:03}.json": b"%d" % n for n in range(150)}
    commit = hub.commit(REPO, many)
    assert puller.pull(puller.desired(hub, commit)).status == 0
    assert found(puller.current) == hashes(many)
    assert listings(hub) == 1 + 22, "the revision, and 150 files by seven"


@pytest.mark.parametrize("path", list(FILES))
def test_other_bytes_are_refused(hub: Hub, puller: Puller, path: str) -> None:
    """A server that has another file of the same size."""
    pinned = pins(hub, hub.commit(REPO, FILES))
    other = FILES | {path: FILES[path][::-1]}
    commit = hub.commit(REPO, other)
    done = puller.pull(puller.desired(hub, commit, pinned))
    assert done.status == 2
    kind = "sha256" if path.endswith(".safetensors") else "git_sha1"
    assert f"sent {path} of {REPO} twice, and both times it was not the pinned file" in done.words
    assert f"it has another {kind}" in done.words
    assert not (puller.destination / commit / path).exists()
    assert not puller.current.is_symlink()
    assert times_fetched(hub, path) == 2


@pytest.mark.parametrize("change", [-1, 1, -50_000 + 1])
def test_another_size_is_refused_without_fetching(hub: Hub, puller: Puller, change: int) -> None:
    commit = hub.commit(REPO, FILES)
    pinned = pins(hub, commit)
    pinned["a.safetensors"]["size"] += change
    done = puller.pull(puller.desired(hub, commit, pinned))
    assert done.status == 2
    size = 50_000 + change
    assert f"the server has 50000 bytes (application/octet-stream), and {size} it is" in done.words
    assert not (puller.destination / commit / "a.safetensors").exists()


def test_a_moved_branch_does_not_matter(hub: Hub, puller: Puller) -> None:
    first = hub.commit(REPO, FILES)
    hub.commit(REPO, {"config.json": b'{"other": true}'})
    for pinned in (None, pins(hub, first)):
        assert puller.pull(puller.desired(hub, first, pinned)).status == 0
        assert found(puller.current) == hashes(FILES)


def test_more_pins_than_wanted(hub: Hub, puller: Puller) -> None:
    """`patterns` choose among the pinned files, too."""
    commit = hub.commit(REPO, FILES)
    desired = puller.desired(hub, commit, pins(hub, commit), patterns=["*.json"])
    assert puller.pull(desired).status == 0
    assert sorted(found(puller.current)) == ["config.json"]
    assert puller.status()["state"] == "complete"
