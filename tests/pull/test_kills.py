"""Killed at any moment, a pull goes on from there; and two do not get into each other's way."""

from __future__ import annotations

import random
import select
import time
from pathlib import Path

from homeport.remote.pull import CONNECTIONS

from ..hub import Hub, Sparse, Stall, Trickle
from .puller import (
    QUICK,
    REPO,
    Puller,
    fetched,
    found,
    hashes,
    on_disk,
    pins,
    some_bytes,
    times_fetched,
)

KILLS = 12
FILES = {"small.json": b"{}"} | {f"{n}.safetensors": some_bytes(200_000, n) for n in range(5)}


def test_killed_at_random_moments(hub: Hub, puller: Puller, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    sizes = {f"{n}.gguf": 30_000_000 + n for n in range(10)} | {f"{n}.json": n for n in range(9)}
    for name, size in sizes.items():
        (source / name).write_bytes(some_bytes(size, name))
    expected = found(source)
    commit = hub.commit(REPO, {name: source / name for name in sizes})
    # Slow enough for it to be at work whenever it is killed.
    hub.fault("*.gguf", Trickle(0, 2_000_000), times=None, host="cdn")
    desired = puller.desired(hub, commit, pins(hub, commit))
    chance = random.Random(1)
    kept = []
    for _ in range(KILLS):
        at_work = puller.start("pull", desired)
        time.sleep(chance.uniform(0.1, 1.5))
        at_work.kill()
        kept.append(on_disk(puller.destination))
        assert puller.progress()["state"] in ("interrupted", "none")
        assert puller.status()["state"] != "complete"
    assert kept == sorted(kept), "nothing that came is thrown away"
    hub.faults.clear()
    done = puller.start("pull", desired).wait()
    assert (done.status, done.words) == (0, "")
    assert found(puller.destination / commit) == expected
    assert not puller.orphans()
    assert not list(puller.destination.rglob("*.new"))
    again = sum(fetched(hub).values()) - sum(sizes.values())
    print(f"{again / 1e6:.1f} MB were fetched again after {KILLS} kills")
    assert again <= KILLS * 8 * 2**20, "what was in the buffers of the connections"


def test_killed_while_it_says_complete(hub: Hub, puller: Puller) -> None:
    """Killed between any two steps of a small pull: the next one ends well."""
    commit = hub.commit(REPO, FILES)
    desired = puller.desired(hub, commit)
    chance = random.Random(3)
    for _ in range(4):
        at_work = puller.start("pull", desired)
        time.sleep(chance.uniform(0.3, 0.9))
        at_work.kill()
        assert puller.pull(desired).status == 0
        assert puller.status()["state"] == "complete"
        assert found(puller.current) == hashes(FILES)
        (puller.destination / f".homeport/{commit}.json").unlink()
        (puller.destination / commit / "0.safetensors").unlink()


def test_two_at_once_fetch_once(hub: Hub, puller: Puller) -> None:
    commit = hub.commit(REPO, FILES)
    hub.fault("0.safetensors", Stall(100_000, 600))
    desired = puller.desired(hub, commit)
    both = [puller.start("pull", desired, limits=QUICK | {"SILENCE": 600.0}) for _ in range(2)]
    both[0].until_bytes(100_000)
    assert puller.progress()["pid"] in [at_work.process.pid for at_work in both]
    assert puller.progress()["state"] in ("planning", "checking", "pulling"), "not interrupted"
    # It says so; the one at work has nothing to say.
    outputs = [one.process.stdout for one in both if one.process.stdout]
    assert select.select(outputs, [], [], 180)[0]
    hub.faults.clear()
    ended = [at_work.wait() for at_work in both]
    assert [done.status for done in ended] == [0, 0]
    said = sorted(done.said.splitlines()[0] for done in ended)
    assert said[1] == "another pull is at work here; this one waits for it"
    assert found(puller.current) == hashes(FILES)
    assert [times_fetched(hub, path) for path in FILES] == [1] * len(FILES)


def test_the_lock_of_a_killed_one_is_free(hub: Hub, puller: Puller) -> None:
    commit = hub.commit(REPO, FILES)
    hub.fault("0.safetensors", Stall(100_000, 60))
    desired = puller.desired(hub, commit)
    first = puller.start("pull", desired, limits=QUICK | {"SILENCE": 60.0})
    first.until_bytes(100_000)
    second = puller.start("pull", desired)
    time.sleep(1)
    assert second.process.poll() is None, "it waits"
    first.kill()
    assert second.wait().status == 0
    assert found(puller.current) == hashes(FILES)


def test_a_killed_one_has_its_files_on_their_way_first(hub: Hub, puller: Puller) -> None:
    """What was begun is ended before anything else is begun."""
    files = {f"{n:02}.gguf": Sparse(2_000_000 + n, {0: b"%d" % n}) for n in range(20)}
    commit = hub.commit(REPO, files)
    hub.fault("*", Stall(1_000_000, 60), host="cdn", times=CONNECTIONS)
    desired = puller.desired(hub, commit, pins(hub, commit))
    at_work = puller.start("pull", desired, limits=QUICK | {"SILENCE": 60.0})
    at_work.until_bytes(CONNECTIONS * 1_000_000)
    at_work.kill()
    begun = {Path(part).name.removesuffix(".homeport-part") for part in puller.orphans()}
    assert len(begun) == CONNECTIONS
    seen = len(hub.requests)
    assert puller.pull(desired).status == 0
    later = [request for request in hub.requests[seen:] if request.host == "cdn"]
    assert {request.file for request in later if request.range == "bytes=1000000-"} == begun
    assert later[0].file in begun
