"""Another revision comes beside the one in use, which works until the new one is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..hub import Hub, Status
from .puller import QUICK, REPO, Puller, fetched, found, hashes, pins, some_bytes

SAME = {"same.safetensors": some_bytes(400_000, "same"), "folder/same.json": b"{}"}
FIRST = SAME | {"changed.safetensors": some_bytes(100_000, 1), "gone.json": b"[]"}
SECOND = SAME | {"changed.safetensors": some_bytes(100_000, 2), "new.json": b"2"}
THIRD = SAME | {"changed.safetensors": some_bytes(100_000, 3)}


def commits_in(destination: Path) -> set[str]:
    return {path.name for path in destination.iterdir() if len(path.name) == 40}


def pull(hub: Hub, puller: Puller, files: dict[str, bytes], **more: bool) -> str:
    commit = hub.commit(REPO, files)
    assert puller.pull(puller.desired(hub, commit, pins(hub, commit), **more)).status == 0
    assert puller.current.readlink() == Path(commit)
    assert found(puller.current) == hashes(files)
    assert puller.status()["state"] == "complete"
    return commit


def test_only_what_changed_is_fetched(hub: Hub, puller: Puller) -> None:
    first = pull(hub, puller, FIRST)
    hub.requests.clear()
    second = pull(hub, puller, SECOND)
    assert fetched(hub) == {"changed.safetensors": 100_000, "new.json": 1}
    for path in SAME:
        both = [puller.destination / commit / path for commit in (first, second)]
        assert both[0].samefile(both[1]), "a link, so that the disk holds it once"
    assert commits_in(puller.destination) == {first, second}
    assert found(puller.destination / first) == hashes(FIRST), "to go back to"
    state = puller.status()
    assert (state["revision"], state["others"]) == (second, [first])
    assert state["on_disk"] == sum(map(len, (FIRST | SECOND).values())) + 100_000


def test_a_third_removes_the_first(hub: Hub, puller: Puller) -> None:
    pull(hub, puller, FIRST)
    second = pull(hub, puller, SECOND)
    third = pull(hub, puller, THIRD)
    assert commits_in(puller.destination) == {second, third}
    manifests = {path.stem for path in (puller.destination / ".homeport").glob("?" * 40 + ".json")}
    assert manifests == {second, third}


def test_without_keep_previous(hub: Hub, puller: Puller) -> None:
    pull(hub, puller, FIRST)
    second = pull(hub, puller, SECOND, keep_previous=False)
    assert commits_in(puller.destination) == {second}


def test_keep_previous_turned_off_later(hub: Hub, puller: Puller) -> None:
    pull(hub, puller, FIRST)
    second = pull(hub, puller, SECOND)
    desired = puller.desired(hub, second, pins(hub, second), keep_previous=False)
    hub.requests.clear()
    assert puller.pull(desired).status == 0
    assert commits_in(puller.destination) == {second}
    assert not hub.requests


def test_back_to_the_one_before_and_forth_again(hub: Hub, puller: Puller) -> None:
    """Back costs nothing, and the one that was left stays as the previous one."""
    first, second = pull(hub, puller, FIRST), pull(hub, puller, SECOND)
    hub.requests.clear()
    for commit, files in ((first, FIRST), (second, SECOND), (first, FIRST)):
        assert puller.pull(puller.desired(hub, commit, pins(hub, commit))).status == 0
        assert found(puller.current) == hashes(files)
        assert puller.status()["revision"] == commit
        assert commits_in(puller.destination) == {first, second}
    assert not hub.requests


def test_the_current_one_stays_until_the_next_is_whole(hub: Hub, puller: Puller) -> None:
    first = pull(hub, puller, FIRST)
    second = hub.commit(REPO, SECOND)
    hub.fault("changed.safetensors", Status(500), times=None)
    desired = puller.desired(hub, second, pins(hub, second))
    assert puller.pull(desired, limits=QUICK | {"GIVE_UP": 0.5}).status == 1
    assert puller.current.readlink() == Path(first)
    assert found(puller.current) == hashes(FIRST)
    state = puller.status()
    assert (state["state"], state["revision"], state["others"]) == ("complete", first, [second])


def test_one_that_was_given_up_half_way_is_removed(hub: Hub, puller: Puller) -> None:
    first = pull(hub, puller, FIRST)
    second = hub.commit(REPO, SECOND)
    hub.fault("changed.safetensors", Status(404))
    hub.fault("changed.safetensors", Status(500), times=None)
    desired = puller.desired(hub, second, pins(hub, second))
    assert puller.pull(desired, limits=QUICK | {"GIVE_UP": 0.5}).status == 1
    hub.faults.clear()
    third = pull(hub, puller, THIRD)
    assert commits_in(puller.destination) == {first, third}


@pytest.mark.parametrize("pinned", [True, False])
def test_other_patterns_of_the_same_revision(hub: Hub, puller: Puller, pinned: bool) -> None:
    previous = pull(hub, puller, THIRD)
    commit = hub.commit(REPO, FIRST)
    chosen = {
        "changed*": {"changed.safetensors"},
        "*.json": {"folder/same.json", "gone.json"},
        "*": set(FIRST),
    }
    for pattern, paths in chosen.items():
        specs = pins(hub, commit) if pinned else None
        desired = puller.desired(hub, commit, specs, patterns=[pattern])
        assert puller.pull(desired).status == 0
        assert set(found(puller.current)) == paths, "those, and no others"
        assert puller.status()["state"] == "complete"
    folders = [path.name for path in (puller.destination / commit).iterdir() if path.is_dir()]
    assert folders == ["folder"]
    assert commits_in(puller.destination) == {previous, commit}, "still the one before"


def test_one_that_was_abandoned_half_way_does_not_stay(hub: Hub, puller: Puller) -> None:
    """A pin that is taken back before its pull has ended."""
    first = pull(hub, puller, FIRST)
    desired = puller.desired(hub, first, pins(hub, first))
    second = hub.commit(REPO, SECOND)
    hub.fault("changed.safetensors", Status(404), "*", times=None)
    limits = QUICK | {"GIVE_UP": 0.5}
    at = puller.desired(hub, second, pins(hub, second))
    assert puller.pull(at, limits=limits).status != 0
    assert commits_in(puller.destination) == {first, second}
    assert puller.status()["abandoned"] == [second]
    assert puller.pull(desired).status == 0
    assert commits_in(puller.destination) == {first}
    assert puller.status()["abandoned"] == []
