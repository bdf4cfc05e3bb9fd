"""What goes wrong on the way, and ends in the right file all the same."""

from __future__ import annotations

import re
import time
from email.utils import formatdate

import pytest

from ..hub import (
    Fault,
    Flip,
    Html,
    Hub,
    IgnoreRange,
    Reset,
    Stall,
    Status,
    Trickle,
    Truncate,
    WrongEtag,
    WrongRange,
)
from ..running import wait_until
from .puller import QUICK, REPO, Puller, fetched, found, hashes, pins, some_bytes, times_fetched

WEIGHTS = "model.safetensors"
SIZE = 3_000_000
FILES = {WEIGHTS: some_bytes(SIZE), "other.safetensors": some_bytes(1000, 1), "small.json": b"{}"}

#: A connection that brings less than this in this time is too slow.
IMPATIENT = QUICK | {"MINUTE": 0.5, "SLOWEST": 100_000}

#: The faults, what they happen to, and the most that is fetched twice.
FAULTS: dict[str, tuple[list[Fault], str, int]] = {
    "reset": ([Reset(SIZE // 2)], "GET", 0),
    "reset at once": ([Reset(0)] * 3, "GET", 0),
    "reset again and again": ([Reset(SIZE // 10)] * 8, "GET", 0),
    "early end": ([Truncate(SIZE // 2)] * 2, "GET", 0),
    "silence": ([Stall(SIZE // 2, 60)], "GET", 0),
    "too slow": ([Trickle(SIZE // 2, 20_000)], "GET", 0),
    "no answer to HEAD": ([Reset(0), Truncate(0), Stall(0, 60)], "HEAD", 0),
    "500": ([Status(500)], "GET", 0),
    "502, 503, 504": ([Status(502), Status(503), Status(504)], "*", 0),
    "500 to HEAD": ([Status(500)], "HEAD", 0),
    "429 without a time": ([Status(429)], "*", 0),
    "a signature that has expired": ([Status(403)], "GET", 0),
    "one bit, once": ([Flip(SIZE // 3)], "GET", SIZE),
    "a page instead": ([Html()], "GET", 0),
    "a page instead of the rest": ([Reset(SIZE // 2), Html()], "GET", 0),
    "a page instead of the HEAD": ([Html()], "HEAD", 0),
    "resumed from the start": ([Reset(SIZE // 2), IgnoreRange()], "GET", SIZE // 2),
    "resumed elsewhere": ([Reset(SIZE // 2), WrongRange()], "GET", SIZE),
    "another ETag": ([WrongEtag("0" * 64)] * 2, "*", 0),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_file_is_right_in_the_end(hub: Hub, puller: Puller, name: str) -> None:
    faults, method, twice = FAULTS[name]
    commit = hub.commit(REPO, FILES)
    for fault in faults:
        hub.fault(WEIGHTS, fault, method, host="*" if method != "GET" else "cdn")
    done = puller.pull(puller.desired(hub, commit, pins(hub, commit)), limits=IMPATIENT)
    assert (done.status, done.words) == (0, "")
    assert found(puller.destination / commit) == hashes(FILES)
    # What was on its way when a connection broke does not count.
    assert SIZE <= fetched(hub)[WEIGHTS] <= SIZE + twice + 600_000
    assert times_fetched(hub, "other.safetensors") == 1, "others are none the worse for it"


@pytest.mark.parametrize("status", [503, 429])
def test_a_fault_of_the_listing(hub: Hub, puller: Puller, status: int) -> None:
    commit = hub.commit(REPO, FILES)
    hub.fault("/api/*", Status(status), times=2)
    assert puller.pull(puller.desired(hub, commit)).status == 0
    assert found(puller.current) == hashes(FILES)


@pytest.mark.parametrize(
    ("method", "host", "header"),
    [
        ("GET", "cdn", {"Retry-After": "3"}),
        ("HEAD", "hub", {"Retry-After": "3"}),
        ("HEAD", "hub", {"RateLimit": '"resolvers";r=0;t=3'}),
    ],
)
def test_a_server_that_asks_to_wait_is_left_alone(
    hub: Hub, puller: Puller, method: str, host: str, header: dict[str, str]
) -> None:
    commit = hub.commit(REPO, FILES)
    hub.fault(WEIGHTS, Status(429, header), method, host=host)
    done = puller.pull(puller.desired(hub, commit, pins(hub, commit)))
    assert done.status == 0
    assert found(puller.current) == hashes(FILES)
    asked = [r for r in hub.requests if r.file == WEIGHTS]
    [refused] = [index for index, request in enumerate(asked) if request.status == 429]
    assert asked[refused + 1].time - asked[refused].time >= 3
    assert "answers 429; tries again in 3 s" in done.said


def test_a_restart_in_mid_file(hub: Hub, puller: Puller) -> None:
    commit = hub.commit(REPO, FILES)
    hub.fault(WEIGHTS, Stall(SIZE // 2, 60))
    desired = puller.desired(hub, commit)
    at_work = puller.start("pull", desired, limits=QUICK | {"SILENCE": 30.0})
    at_work.until_bytes(SIZE // 2)
    hub.stop_listening()
    time.sleep(1)
    hub.listen_again()
    assert at_work.wait().status == 0
    assert found(puller.current) == hashes(FILES)
    assert fetched(hub)[WEIGHTS] <= SIZE + 200_000


def test_a_hub_that_is_up_later(hub: Hub, puller: Puller) -> None:
    commit = hub.commit(REPO, FILES)
    hub.stop_listening()
    at_work = puller.start("pull", puller.desired(hub, commit))
    wait_until(lambda: "Connection refused" in at_work.progress().get("message", ""))
    hub.listen_again()
    assert at_work.wait().status == 0
    assert found(puller.current) == hashes(FILES)


def test_signatures_that_expire_in_mid_file(hub: Hub, puller: Puller) -> None:
    """The next part of the file is asked for by a new URL."""
    commit = hub.commit(REPO, FILES)
    hub.fault(WEIGHTS, Stall(SIZE // 2, 60), times=1)
    hub.fault(WEIGHTS, Status(403), host="cdn", times=1)
    at_work = puller.start("pull", puller.desired(hub, commit), limits=QUICK | {"SILENCE": 3.0})
    at_work.until_bytes(SIZE // 2)
    hub.expire_signatures()
    assert at_work.wait().status == 0
    assert found(puller.current) == hashes(FILES)
    assert fetched(hub)[WEIGHTS] <= SIZE + 200_000


def test_the_time_that_reading_takes_is_no_silence(hub: Hub, puller: Puller) -> None:
    """Large files that are there are read for longer than anybody waits for a server."""
    commit = hub.commit(REPO, FILES)
    (puller.destination / commit).mkdir(parents=True)
    (puller.destination / commit / WEIGHTS).write_bytes(bytes(SIZE))
    hub.fault(WEIGHTS, Status(503), "HEAD")
    slowly = "import time; pull.is_right = lambda *words: time.sleep(6)"
    desired = puller.desired(hub, commit, pins(hub, commit))
    done = puller.pull(desired, limits=QUICK | {"GIVE_UP": 5.0}, before=slowly)
    assert (done.status, done.words) == (0, "")
    assert found(puller.current) == hashes(FILES)


def test_a_hub_that_stays_away_ends_the_pull(hub: Hub, puller: Puller) -> None:
    """With a status by which whoever supervises it tries again."""
    commit = hub.commit(REPO, FILES)
    hub.stop_listening()
    done = puller.pull(puller.desired(hub, commit), limits=QUICK | {"GIVE_UP": 1.0})
    assert done.status == 1
    assert "nothing came for 0 minutes" in done.words
    assert "Connection refused" in done.words
    assert (puller.progress()["state"], puller.progress()["final"]) == ("failed", False)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Flip(SIZE // 3), "it has another sha256"),
        (Html(), "bytes (text/html), and 3000000 it is"),
    ],
    ids=["flip", "page"],
)
def test_what_is_always_wrong_ends_the_pull(
    hub: Hub, puller: Puller, fault: Fault, words: str
) -> None:
    commit = hub.commit(REPO, FILES)
    hub.fault(WEIGHTS, fault, times=None)
    done = puller.pull(puller.desired(hub, commit))
    assert done.status == 2
    assert f"{hub.url} sent {WEIGHTS} of {REPO} twice, and both times" in done.words
    assert words in done.words
    assert "such as a proxy or a login page" in done.words
    assert not (puller.destination / commit / WEIGHTS).exists()
    assert not puller.current.exists()
    assert puller.progress()["final"] is True
    hub.faults.clear()
    assert puller.pull(puller.desired(hub, commit)).status == 0
    assert found(puller.current) == hashes(FILES)
    assert not puller.orphans()


#: Short, for servers that never give what they should.
SHORT = {"BACKOFF": (0.05, 0.2), "GIVE_UP": 2.0, "LONGEST_WAIT": 2.0}


@pytest.mark.parametrize(
    "fault",
    [
        Truncate(SIZE // 2, from_the_start=True),
        Status(429, {"Retry-After": "0"}),
        Status(503, {"Retry-After": "1"}),
        Status(503),
    ],
)
def test_a_server_that_never_gives_all_of_it_is_given_up(
    hub: Hub, puller: Puller, fault: Fault
) -> None:
    """And is not asked without a pause meanwhile."""
    commit = hub.commit(REPO, FILES)
    hub.fault(WEIGHTS, fault, times=None)
    done = puller.pull(puller.desired(hub, commit, pins(hub, commit)), limits=SHORT)
    assert done.status == 1
    assert "nothing came for " in done.words
    assert times_fetched(hub, WEIGHTS) < 60


def test_a_time_to_come_back_at(hub: Hub, puller: Puller) -> None:
    commit = hub.commit(REPO, FILES)
    due, monotonic = int(time.time()) + 10, time.monotonic() - time.time()
    hub.fault(WEIGHTS, Status(503, {"Retry-After": formatdate(due, usegmt=True)}), host="cdn")
    done = puller.pull(puller.desired(hub, commit, pins(hub, commit)))
    assert done.status == 0
    assert re.search(r"answers 503; tries again in ([1-9]|10) s", done.said)
    assert hub.requests[-1].time > due + monotonic - 0.1
