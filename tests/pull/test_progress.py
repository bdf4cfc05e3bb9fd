"""What a pull says of itself while it is at work, and afterwards."""

from __future__ import annotations

import time
from typing import Any

from ..hub import Hub, Trickle
from ..running import wait_until
from .puller import REPO, AtWork, Puller, pins, some_bytes

FILES = {f"{n}.safetensors": some_bytes(1_000_000, n) for n in range(4)} | {"a.json": b"{}"}
TOTAL = 4_000_002


def at_work(hub: Hub, puller: Puller, bytes_per_second: int = 200_000) -> AtWork:
    """A pull whose four files come at that rate each; some bytes of them are there."""
    commit = hub.commit(REPO, FILES)
    hub.fault("*", Trickle(0, bytes_per_second), host="cdn", times=None)
    pull = puller.start("pull", puller.desired(hub, commit, pins(hub, commit)))
    pull.until_bytes(400_000)
    return pull


def test_while_it_is_at_work(hub: Hub, puller: Puller) -> None:
    pull = at_work(hub, puller)
    seen: list[dict[str, Any]] = []
    while pull.process.poll() is None:
        if (now := pull.progress()) and now not in seen:
            seen.append(now)
        time.sleep(0.1)
    assert pull.wait().status == 0
    pulling = [now for now in seen if now["state"] == "pulling" and now["rate"]]
    assert len(pulling) >= 3, "every second"
    done = [now["bytes_done"] for now in pulling]
    assert done == sorted(set(done)), "it grows"
    assert all(0 < count <= TOTAL for count in done)
    for now in pulling[:2]:
        assert (now["bytes_total"], now["files_total"]) == (TOTAL, 5)
        # Four files, 200 kB/s each; a busy machine has them wait, and then come at once.
        assert 50_000 < now["rate"] < TOTAL
        assert 0 < now["eta_seconds"] < 80
        assert [one["path"] for one in now["current"]] == [f"{n}.safetensors" for n in range(4)]
        assert all(0 < one["bytes_done"] < one["size"] == 1_000_000 for one in now["current"])
    last = puller.progress()
    assert (last["state"], last["bytes_done"], last["current"]) == ("complete", TOTAL, [])
    assert (last["notes"], last["eta_seconds"]) == ([], None) or last["eta_seconds"] == 0


def test_of_one_that_was_killed(hub: Hub, puller: Puller) -> None:
    pull = at_work(hub, puller, 50_000)
    wait_until(lambda: pull.progress().get("state") == "pulling")
    assert puller.progress()["state"] == "pulling"
    pull.kill()
    assert puller.progress()["state"] == "interrupted"
    hub.faults.clear()
    assert puller.pull(puller.desired(hub, hub.commit(REPO, FILES))).status == 0
    assert puller.progress()["state"] == "complete"


def test_bytes_of_an_earlier_run_count_as_done(hub: Hub, puller: Puller) -> None:
    pull = at_work(hub, puller, 50_000)
    pull.kill()
    commit = next(path.name for path in puller.destination.glob("?" * 40))
    pull = puller.start("pull", puller.desired(hub, commit, pins(hub, commit)))
    wait_until(lambda: pull.progress().get("state") == "pulling")
    assert pull.progress()["bytes_done"] >= 400_000
    pull.kill()


def test_of_one_that_failed_before_it_began(hub: Hub, puller: Puller) -> None:
    """Progress is of the last pull, also if that found out at once that it cannot succeed."""
    commit = hub.commit(REPO, FILES)
    assert puller.pull(puller.desired(hub, commit)).status == 0
    desired = puller.desired(hub, commit, pins(hub, commit), patterns=["*.gguf"])
    done = puller.pull(desired)
    assert done.status == 2
    now = puller.progress()
    assert (now["state"], now["final"]) == ("failed", True)
    assert now["message"] in done.words
