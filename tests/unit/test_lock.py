"""Two runs do not mix: the programs that see to it, as a host runs them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from homeport import transport
from homeport.facts.host import words
from homeport.operations import lock

from ..running import wait_until


def command(directory: Path, label: str, wait: float = 0, lease: float = 0) -> list[str]:
    return words(sys.executable, "hold_lock.py", str(directory), label, str(wait), str(lease))


@contextmanager
def holder(line: list[str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=0
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_the_second_run_is_told_who_has_the_lock(tmp_path: Path) -> None:
    with holder(command(tmp_path, "anna at desk")) as first:
        assert said(first) == "held"
        with holder(command(tmp_path, "ben", wait=0.3)) as second:
            who = " anna at desk" if Path("/proc/locks").exists() else ""
            assert [said(second), said(second)] == [f"waiting{who}", f"taken{who}"]
            assert second.wait(10) == 1


def test_the_second_run_gets_the_lock_when_the_first_ends(tmp_path: Path) -> None:
    with (
        holder(command(tmp_path, "anna")) as first,
        holder(command(tmp_path, "ben", wait=30)) as second,
    ):
        assert said(first) == "held" and said(second).startswith("waiting")
        assert first.stdin
        first.stdin.close()  # as when pyinfra ends, or is killed
        assert said(second) == "held"


def test_another_directory_is_another_lock(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with (
        holder(command(tmp_path, "anna")) as first,
        holder(command(tmp_path / "other", "ben")) as second,
    ):
        assert [said(first), said(second)] == ["held", "held"]


def test_a_run_that_is_silent_for_too_long_loses_lock_and_session(tmp_path: Path) -> None:
    """The parent stands for the SSH session; with it every command of that run ends."""
    session = ["sh", "-c", f"{shlex.join(command(tmp_path, 'anna', lease=1))}; echo survived"]
    with holder(session) as first:
        assert said(first) == "held"
        assert first.stdin
        for _ in range(3):  # a run that is alive says so
            time.sleep(0.5)
            first.stdin.write(".")
        with holder(command(tmp_path, "ben", wait=30)) as second:
            assert said(second).startswith("waiting")
            assert said(second) == "held"
        assert first.wait(10) == -15


def test_nothing_is_left_of_a_lock(tmp_path: Path) -> None:
    with holder(command(tmp_path, "anna")) as process:
        assert said(process) == "held"
        assert list(tmp_path.iterdir()) == []


def test_a_run_finds_its_connection_dead_before_its_lock_expires() -> None:
    assert transport.DEAD_AFTER < lock.LEASE < lock.WAIT


@pytest.mark.parametrize("there", [True, False])
def test_a_long_command_waits_for_the_one_before(tmp_path: Path, there: bool) -> None:
    """The lock outlives the program that took it: it ends with the last process of the command."""
    folder = tmp_path / "env"
    if there:
        folder.mkdir()
    log = tmp_path / "log"
    line = words(sys.executable, "run_locked.py", str(folder), "sh", "-c")
    slow = f"echo start >> {log}; sleep 0.7; echo end >> {log}"
    with subprocess.Popen([*line, f"({slow})"]) as first:
        wait_until(log.exists)
        os.kill(first.pid, 9)  # the shell's child goes on
        subprocess.run([*line, slow], check=True)
    wait_until(lambda: log.read_text().count("end") == 2)
    order = log.read_text().split()
    assert order == (["start", "end"] * 2 if there else ["start", "start", "end", "end"])
