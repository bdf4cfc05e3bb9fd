"""serve.sh, which starts a laptop's server, in the shells that /bin/sh may be."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from homeport.serving import STARTER

from ..running import wait_until

SERVER = """#!/bin/sh
case $1 in --help) echo "{knows}"; exit ;; esac
for word; do echo "word:$word"; done
"""
BATTERY, MAINS = "Now drawing from 'Battery Power'", "Now drawing from 'AC Power'"


@pytest.fixture(params=["dash", "bash", "zsh"])
def words(request: pytest.FixtureRequest, needs: Callable[..., None]) -> list[str]:
    needs(request.param)
    emulated = ["--emulate", "sh"] if request.param == "zsh" else []
    return [request.param, *emulated, str(STARTER)]


def program(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def output(words: list[str], *more: str, **environment: str) -> str:
    done = subprocess.run(
        [*words, *more],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.mark.parametrize(
    ("knows", "said"),
    [("--mmap, --no-mmap", ["--no-mmap"]), ("--load-mode MODE", ["--load-mode", "none"])],
)
def test_a_flag_is_said_as_the_program_of_today_knows_it(
    words: list[str], tmp_path: Path, knows: str, said: list[str]
) -> None:
    server = program(tmp_path, "server", SERVER.format(knows=knows))
    given = ["--model", "/a b/ü $x 'y'.gguf", "--no-mmap", "--alias", "*"]
    expected = [*given[:2], *said, *given[3:]]
    printed = output(words, "always", "-", server, *given)
    assert printed == "".join(f"word:{word}\n" for word in expected)


def test_it_becomes_the_server(words: list[str], tmp_path: Path) -> None:
    """Whoever started it sees one process, and ends one."""
    server = program(tmp_path, "server", "#!/bin/sh\necho $$\n")
    process = subprocess.Popen([*words, "always", "-", server], stdout=subprocess.PIPE, text=True)
    printed, _ = process.communicate(timeout=120)
    assert int(printed) == process.pid


def test_on_battery_it_waits_for_mains(words: list[str], tmp_path: Path) -> None:
    program(tmp_path, "pmset", f'#!/bin/sh\ncat "{tmp_path}/power"\n')
    program(tmp_path, "sleep", "#!/bin/sh\nexec /bin/sleep 0.05\n")
    server = program(tmp_path, "server", "#!/bin/sh\necho serving\n")
    (tmp_path / "power").write_text(BATTERY)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert output(words, "always", "-", server, PATH=path) == "serving\n"
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*words, "on-mains", "-", server], stdout=file, env={**os.environ, "PATH": path}
        )
    wait_until(lambda: "waits for mains power" in log.read_text())
    time.sleep(0.3)
    assert process.poll() is None
    (tmp_path / "power").write_text(MAINS)
    assert process.wait(120) == 0
    assert log.read_text().endswith("\nserving\n")


def test_a_log_is_put_aside_when_it_is_long(words: list[str], tmp_path: Path) -> None:
    server = program(tmp_path, "server", "#!/bin/sh\necho serving\n")
    program(tmp_path, "sleep", "#!/bin/sh\nexit 1\n")  # so that nothing looks after it later
    path = f"{tmp_path}:{os.environ['PATH']}"
    log = tmp_path / "a log"
    log.write_bytes(b"x" * 100)
    output(words, "always", str(log), server, PATH=path)
    assert not (tmp_path / "a log.1").exists()
    log.write_bytes(b"x" * 5_000_001)
    output(words, "always", str(log), server, PATH=path)
    assert (tmp_path / "a log.1").stat().st_size == 5_000_001
    assert log.stat().st_size == 0


def test_and_again_while_the_server_runs(words: list[str], tmp_path: Path) -> None:
    """What it writes goes on, into the same file."""
    program(tmp_path, "sleep", "#!/bin/sh\nexec /bin/sleep 0.1\n")
    endless = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo $i; /bin/sleep 0.02; done"
    server = program(tmp_path, "server", f"#!/bin/sh\n{endless}\n")
    log = tmp_path / "log"
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with log.open("a") as file:
        process = subprocess.Popen(
            [*words, "always", str(log), server], stdout=file, env=environment
        )
        file.write("x" * 5_000_001)
    assert process.wait(120) == 0
    wait_until(lambda: (tmp_path / "log.1").exists() and log.stat().st_size < 1000)
    assert log.read_text().splitlines()[-1] == "100"


def test_shellcheck() -> None:
    checker = Path(sys.executable).parent / "shellcheck"
    words = [str(checker), "--shell=sh", "--norc", str(STARTER)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0)
