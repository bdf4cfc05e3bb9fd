"""Xet, by the real hf_xet, from a store that is a local folder; and plain HTTP where it breaks."""

from __future__ import annotations

import pytest

from ..hub import Hub, Status
from .puller import PART, QUICK, REPO, Puller, fetched, found, hashes, pins, some_bytes

WEIGHTS = "model.safetensors"
FILES = {WEIGHTS: some_bytes(3_000_000), "b.json": b"{}"}


@pytest.fixture
def commit(hub: Hub) -> str:
    commit = hub.commit(REPO, FILES)
    hub.offer_xet(REPO)
    return commit


def asked_for_xet(hub: Hub) -> bool:
    return any("xet-read-token" in request.path for request in hub.requests)


@pytest.mark.parametrize("pinned", [True, False])
def test_it_is_used_where_it_is_offered(
    hub: Hub, puller: Puller, commit: str, pinned: bool
) -> None:
    desired = puller.desired(hub, commit, pins(hub, commit) if pinned else None)
    done = puller.pull(desired)
    assert (done.status, done.words) == (0, "")
    assert found(puller.current) == hashes(FILES)
    assert asked_for_xet(hub)
    assert fetched(hub) == {"b.json": 2}, "no weights by HTTP"
    assert not list(puller.home.rglob("*")), "no cache in the home"


@pytest.mark.parametrize("how", ["token", "endpoint", "content"])
def test_broken_it_is_replaced_by_plain_http(
    hub: Hub, puller: Puller, commit: str, how: str
) -> None:
    hub.break_xet(how)
    done = puller.start("pull", puller.desired(hub, commit, pins(hub, commit))).wait()
    print(f"{how}: {done.seconds:.1f} s", done.said)
    assert (done.status, done.words) == (0, "")
    assert found(puller.current) == hashes(FILES)
    assert fetched(hub) == {WEIGHTS: 3_000_000, "b.json": 2}
    assert "xet fails (" in done.said
    assert "so it is by plain HTTP from now on" in done.said


def test_it_goes_on_in_the_middle_of_a_file(hub: Hub, puller: Puller, commit: str) -> None:
    part = puller.destination / commit / f"{WEIGHTS}{PART}"
    part.parent.mkdir(parents=True)
    part.write_bytes(FILES[WEIGHTS][:1_234_567])
    assert puller.pull(puller.desired(hub, commit, pins(hub, commit))).status == 0
    assert found(puller.current) == hashes(FILES)
    assert fetched(hub) == {"b.json": 2}
    assert not puller.orphans()


def test_the_token_is_for_the_endpoint_and_not_for_the_store(
    hub: Hub, puller: Puller, commit: str
) -> None:
    hub.add_token("hf_secret")
    hub.require_token(REPO)
    tokens = puller.folder / "tokens.json"
    tokens.write_text(f'{{"{hub.url}": "hf_secret"}}')
    assert puller.pull(puller.desired(hub, commit, tokens=str(tokens))).status == 0
    routes = [request for request in hub.requests if "xet-read-token" in request.path]
    assert {request.authorization for request in routes} == {"Bearer hf_secret"}
    assert {request.authorization for request in hub.requests if request.host == "cdn"} <= {None}


def test_other_bytes_by_xet_are_refused(hub: Hub, puller: Puller) -> None:
    pinned = pins(hub, hub.commit(REPO, FILES))
    commit = hub.commit(REPO, FILES | {WEIGHTS: FILES[WEIGHTS][::-1]})
    hub.offer_xet(REPO)
    done = puller.pull(puller.desired(hub, commit, pinned))
    assert done.status == 2
    assert "it was not the pinned file" in done.words
    assert not (puller.destination / commit / WEIGHTS).exists()


def test_a_route_that_asks_to_wait(hub: Hub, puller: Puller, commit: str) -> None:
    hub.fault("/api/*/xet-read-token/*", Status(429, {"Retry-After": "1"}), times=None)
    done = puller.pull(puller.desired(hub, commit, pins(hub, commit)), limits=QUICK)
    assert done.status == 0
    assert found(puller.current) == hashes(FILES)


@pytest.mark.parametrize("how", ["token", "endpoint", "content"])
def test_broken_for_many_files_it_costs_one_wait(hub: Hub, puller: Puller, how: str) -> None:
    files = {f"{n}.safetensors": some_bytes(10_000, n) for n in range(90)}
    commit = hub.commit(REPO, files)
    hub.offer_xet(REPO)
    hub.break_xet(how)
    done = puller.pull(puller.desired(hub, commit, pins(hub, commit)))
    assert done.status == 0
    assert found(puller.current) == hashes(files)
    assert done.said.count("xet fails (") == 1, "said once"
    assert done.seconds < 20, "SILENCE is 2 s, and for six at a time it would be half a minute"
