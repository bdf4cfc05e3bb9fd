"""Two runs do not mix: the programs that see to it, as a host runs them."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from homeport import ROOT, transport
from homeport.facts.host import words
from homeport.operations import lock

from .. import conftest
from ..running import Running, wait_until


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
        with holder(command(tmp_path, "ben", wait=1)) as second:
            who = " anna at desk" if Path("/proc/locks").exists() else ""
            assert [said(second), said(second)] == [f"waiting{who}", f"taken{who}"]
            assert second.wait(60) == 1


def test_the_second_run_gets_the_lock_when_the_first_ends(tmp_path: Path) -> None:
    with holder(command(tmp_path, "anna")) as first:
        assert said(first) == "held"
        with holder(command(tmp_path, "ben", wait=30)) as second:
            assert said(second).startswith("waiting")
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
    """A process called sshd stands for the SSH session."""
    sshd = tmp_path / "sshd"
    sshd.symlink_to(shutil.which("bash") or conftest.missing("bash is not installed"))
    home = tmp_path / "home"
    home.mkdir()
    session = [str(sshd), "-c", f"{shlex.join(command(home, 'anna', lease=4))}; sleep 60"]
    with holder(session) as first:
        assert said(first) == "held"
        assert first.stdin
        for _ in range(5):  # a run that is alive says so
            time.sleep(1)
            first.stdin.write(".")
        with holder(command(home, "ben", wait=30)) as second:
            assert said(second).startswith("waiting")
            assert said(second) == "held"
        assert first.wait(60) == -15


def test_nothing_is_left_of_a_lock(tmp_path: Path) -> None:
    with holder(command(tmp_path, "anna")) as process:
        assert said(process) == "held"
        assert list(tmp_path.iterdir()) == []


def test_a_run_finds_its_connection_dead_before_its_lock_expires() -> None:
    assert transport.DEAD_AFTER < lock.LEASE < lock.WAIT


@pytest.mark.parametrize("there", [True, False])
def test_a_long_command_waits_for_the_one_before(tmp_path: Path, there: bool) -> None:
    """The lock outlives the program that took it: it ends with the last process of the command."""
    folder, gate, log = tmp_path / "env", tmp_path / "gate", tmp_path / "log"
    if there:
        folder.mkdir()
    line = words(sys.executable, "run_locked.py", str(folder), "sh", "-c")
    slow = f"echo start >> {log}; until [ -e {gate} ]; do sleep 0.05; done; echo end >> {log}"
    with subprocess.Popen([*line, f"({slow})"]) as first:
        wait_until(log.exists)
        os.kill(first.pid, 9)  # the shell's child goes on
    second = subprocess.Popen([*line, slow], stdout=subprocess.PIPE, text=True)
    if there:
        assert "waits for what an earlier run started" in said(second)
    else:
        wait_until(lambda: log.read_text().count("start") == 2)
    gate.touch()
    assert second.wait(60) == 0
    second.communicate()
    wait_until(lambda: log.read_text().count("end") == 2)
    order = log.read_text().split()
    assert order == (["start", "end"] * 2 if there else ["start", "start", "end", "end"])


def test_ctrl_c_is_pyinfras_alone(tmp_path: Path) -> None:
    """On this very machine too: what holds the lock is in no group with the terminal."""
    inventory = tmp_path / "mine.py"
    inventory.write_text(f"workstations = [('@local', {{'homeport_dir': '{tmp_path}/.hp'}})]\n")
    with holder(command(tmp_path, "ben")) as other:
        assert said(other) == "held"
        environment = {**os.environ, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        pyinfra = [str(Path(sys.executable).parent / "pyinfra"), "-y", str(inventory), "deploy.py"]
        running = Running(pyinfra, ROOT, environment, tmp_path / "log")
        running.wait_for("waits for another run of homeport")
        os.killpg(running.process.pid, signal.SIGINT)
        run = running.wait()
    assert run.status == 130
    assert run.of("@local") == ["interrupted; nothing was changed"]
    assert "Traceback" not in run.output and "cannot be locked" not in run.output
