"""Where the first endpoint fails, the second is asked; the pins hold for both."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from ..hub import Fault, Flip, Hub, Reset, Status
from .puller import REPO, Puller, fetched, found, hashes, pins, some_bytes

FILES = {"a.safetensors": some_bytes(2_000_000), "b.json": b"{}"}


@pytest.fixture
def other() -> Iterator[Hub]:
    """The fallback, which has the same commit."""
    with Hub() as hub:
        hub.commit(REPO, FILES)
        yield hub
        assert not hub.unexpected


@pytest.fixture
def commit(hub: Hub, other: Hub) -> str:
    commit = hub.commit(REPO, FILES)
    assert other.files(REPO, commit)
    return commit


@pytest.mark.parametrize("pinned", [True, False])
def test_the_first_is_down(hub: Hub, other: Hub, commit: str, puller: Puller, pinned: bool) -> None:
    specs = pins(hub, commit) if pinned else None
    hub.stop_listening()
    done = puller.pull(puller.desired(hub, commit, specs, fallback=other.url))
    assert done.status == 0
    assert found(puller.current) == hashes(FILES)
    [note] = puller.progress()["notes"]
    assert note.endswith(f"; from {other.url} instead")
    assert f"{hub.url}: " in note
    assert "Connection refused" in note
    assert note in done.said


def test_one_failure_is_none(hub: Hub, other: Hub, commit: str, puller: Puller) -> None:
    hub.fault("a.safetensors", Reset(1000), host="cdn")
    hub.fault("b.json", Status(503), times=2)
    desired = puller.desired(hub, commit, pins(hub, commit), fallback=other.url)
    assert puller.pull(desired).status == 0
    assert not other.requests
    assert not puller.progress()["notes"]


def test_the_first_breaks_in_mid_file(hub: Hub, other: Hub, commit: str, puller: Puller) -> None:
    """The second goes on where the first ended."""
    hub.fault("a.safetensors", Reset(1_500_000), host="cdn")
    hub.fault("a.safetensors", Status(500), times=None, host="cdn")
    desired = puller.desired(hub, commit, pins(hub, commit), fallback=other.url)
    assert puller.pull(desired).status == 0
    assert found(puller.current) == hashes(FILES)
    assert [request.range for request in other.requests if request.range] == ["bytes=1500000-"]
    assert fetched(other)["a.safetensors"] == 500_000


def test_the_first_lacks_the_revision(hub: Hub, other: Hub, puller: Puller) -> None:
    hub.commit(REPO, {"b.json": b"older"})
    newer = other.commit(REPO, FILES | {"c.json": b"3"})
    done = puller.pull(puller.desired(hub, newer, fallback=other.url))
    assert done.status == 0
    assert found(puller.current) == hashes(FILES | {"c.json": b"3"})
    assert f"has no revision {newer}" in puller.progress()["notes"][0]


def test_the_first_lacks_the_repository(hub: Hub, other: Hub, puller: Puller) -> None:
    commit = other.commit(REPO, FILES)
    done = puller.pull(puller.desired(hub, commit, pins(other, commit), fallback=other.url))
    assert done.status == 0
    assert "there is no repository" in puller.progress()["notes"][0]


@pytest.mark.parametrize("fault", [Flip(1_000_000), Status(200, {}, b"<html>")])
def test_the_first_sends_wrong_bytes(
    hub: Hub, other: Hub, commit: str, puller: Puller, fault: Fault
) -> None:
    hub.fault("a.safetensors", fault, times=None, host="cdn")
    desired = puller.desired(hub, commit, pins(hub, commit), fallback=other.url)
    assert puller.pull(desired).status == 0
    assert found(puller.current) == hashes(FILES)
    assert "twice, and both times it was not the pinned file" in puller.progress()["notes"][0]
    assert fetched(other)["a.safetensors"] == 2_000_000


def test_both_send_wrong_bytes(hub: Hub, other: Hub, commit: str, puller: Puller) -> None:
    for one in (hub, other):
        one.fault("a.safetensors", Flip(1_000_000), times=None)
    desired = puller.desired(hub, commit, pins(hub, commit), fallback=other.url)
    done = puller.pull(desired)
    assert done.status == 2
    assert f"{other.url} sent a.safetensors" in done.words
    assert not (puller.destination / commit / "a.safetensors").exists()


def test_both_are_down(hub: Hub, other: Hub, commit: str, puller: Puller) -> None:
    for one in (hub, other):
        one.stop_listening()
    desired = puller.desired(hub, commit, fallback=other.url)
    done = puller.pull(desired, limits={"BACKOFF": (0.01, 0.05), "GIVE_UP": 5.0})
    assert done.status == 1
    assert other.url in done.words


def test_each_token_goes_to_its_own(hub: Hub, other: Hub, commit: str, puller: Puller) -> None:
    tokens = {hub: "hf_first", other: "hf_second"}
    for one, token in tokens.items():
        one.add_token(token)
        one.require_token(REPO)
    path = puller.folder / "tokens.json"
    path.write_text(json.dumps({one.url: token for one, token in tokens.items()}))
    hub.fault("a.safetensors", Status(500), times=None)
    desired = puller.desired(hub, commit, fallback=other.url, tokens=str(path))
    assert puller.pull(desired).status == 0
    assert found(puller.current) == hashes(FILES)
    for one, token in tokens.items():
        seen = {request.authorization for request in one.requests if request.host == "hub"}
        assert seen == {f"Bearer {token}"}


def test_a_fallback_without_a_token_gets_none(
    hub: Hub, other: Hub, commit: str, puller: Puller
) -> None:
    hub.add_token("hf_first")
    path = puller.folder / "tokens.json"
    path.write_text(json.dumps({hub.url: "hf_first"}))
    specs = pins(hub, commit)
    hub.stop_listening()
    desired = puller.desired(hub, commit, specs, fallback=other.url, tokens=str(path))
    assert puller.pull(desired).status == 0
    assert {request.authorization for request in other.requests} == {None}
