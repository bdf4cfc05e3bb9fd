"""What is wrong is said in one line, before anything is half done."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .. import conftest
from ..running import Running, wait_until
from .conftest import Machine

#: What a fake host says of itself, unless a test changes it.
FAKE_MACHINE = {
    "home": "/home/dev",
    "kernel": "Linux",
    "arch": "x86_64",
    "memory_kib": "32000000",
    "user": "dev",
    "manager": "systemd",
    "python": "/usr/bin/python3 3.12.3",
    "venv": "yes",
    "openmp": "yes",
    "lingering": "on",
    "free_kib": "200000000",
}

SMALL = '{"model": "smollm2-135m", "host": "localhost", "port": 18080}'


def inventory(machine: Machine, text: str) -> str:
    folder = machine.home.parent / "inventory"
    folder.mkdir(exist_ok=True)
    (folder / "mine.py").write_text(text)
    return str(folder / "mine.py")


def complaints(output: str) -> list[str]:
    return re.findall(r"homeport: .*", output)


def refused(machine: Machine, text: str, *options: str) -> str:
    """The one line with which a run of `text` as the inventory ends before it connects."""
    run = machine.pyinfra("-y", inventory(machine, text), "deploy.py", *options)
    assert run.status == 1
    assert "Traceback" not in run.output
    assert "Connected" not in run.output
    assert machine.tree() == {}
    (line,) = complaints(run.output)
    return line


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            'laptop = ["@local"]',
            "group is 'laptop': no role has this name. Did you mean 'laptops'",
        ),
        ('boxes = ["@local"]', "host is '@local': it is in no group that has a role"),
        (
            'workstations = [("@local", {"use": ["claude-gml"]})]',
            "inventory: @local: use is 'claude-gml': no route has this alias. Did you mean",
        ),
        (
            'laptops = [("@local", {"engin": "xllamacpp"})]',
            "inventory: @local: engin is 'xllamacpp': nothing reads this key. Did you mean",
        ),
        (
            f'laptops = [("@local", {{"routes": {{"claude-a": {SMALL}, "claude-b": {SMALL}}}, '
            '"serve": ["claude-a", "claude-b"]})]',
            "@local serves claude-b.port is 18080: claude-a is served on the same port",
        ),
        ('laptops = ["@local"', "mine.py line 1: SyntaxError: '[' was never closed"),
        ("laptops = [local]", "mine.py line 1: NameError: name 'local' is not defined"),
        ("", "There is no host in the inventory"),
    ],
)
def test_refused_before_any_connection(machine: Machine, text: str, sentence: str) -> None:
    assert sentence in refused(machine, text)


def test_limit_that_matches_no_host(machine: Machine) -> None:
    line = refused(machine, 'workstations = ["@local"]', "--limit", "laptop-17")
    assert "--limit, or --exclude, leaves no host. Groups and hosts are: gpu_hosts, laptops" in line


def test_data_on_the_command_line_is_checked_too(machine: Machine) -> None:
    line = refused(machine, 'laptops = ["@local"]', "--data", "engine=vllm")
    assert "--data: engine is 'vllm': there is no such engine" in line


def test_inventory_that_does_not_exist(machine: Machine) -> None:
    run = machine.pyinfra("-y", "inventory/prd.py", "deploy.py")
    assert run.status == 1
    assert complaints(run.output) == [
        "homeport: inventory/prd.py does not exist. See: ls inventory"
    ]


def test_nobody_to_ask(machine: Machine) -> None:
    run = machine.pyinfra(inventory(machine, 'workstations = ["@local"]'), "deploy.py")
    assert run.status == 1
    assert "Traceback" not in run.output
    assert "Add -y, or --dry to look" in run.output


def test_every_problem_is_named_at_once(machine: Machine) -> None:
    text = 'laptops = [("@fake/a", {"engine": "x"}), ("@fake/b", {"serve": ["y"]})]'
    run = machine.pyinfra("-y", inventory(machine, text), "deploy.py")
    assert len(complaints(run.output)) == 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"python": None},
            "there is no python3 on this machine, and homeport runs on it. Type",
        ),
        (
            {"python": "/usr/bin/python3 3.9.2"},
            "is Python 3.9.2, and the engine needs 3.10 or",
        ),
        ({"venv": "no"}, "cannot make virtual environments (no ensurepip). Type: sudo apt install"),
        ({"kernel": "Darwin", "manager": "launchd", "python": None}, "Type: brew install python"),
        ({"lingering": "denied"}, "Type: sudo loginctl enable-linger dev"),
        ({"free_kib": "102400"}, "has 104 MB free, and the engine needs 600 MB. See what takes"),
    ],
)
def test_refused_before_any_change(
    machine: Machine, changes: dict[str, str | None], sentence: str
) -> None:
    answers = {**FAKE_MACHINE, **changes}
    lines = [f"{key}={value}" for key, value in answers.items() if value is not None]
    data = {
        "routes": {"claude-fable5": {"model": "smollm2-135m", "host": "localhost", "port": 18080}},
        "fake_responses": {"homeport: machine": lines},
        "fake_delay": 0,
        "fake_delay_jitter": 0,
    }
    run = machine.pyinfra(
        "-y", inventory(machine, f'laptops = [("@fake/a", {data!r})]'), "deploy.py"
    )
    assert run.status == 1
    (line,) = complaints(run.output)
    assert sentence in line
    assert "Starting operation" not in run.output
    assert "Traceback" not in run.output


def test_one_unfit_host_does_not_stop_the_others(machine: Machine) -> None:
    bare = [f"{key}={value}" for key, value in FAKE_MACHINE.items() if key != "python"]
    unfit = {
        "fake_responses": {"homeport: machine": bare},
        "fake_delay": 0,
        "fake_delay_jitter": 0,
        "routes": {"claude-fable5": {"model": "smollm2-135m", "host": "localhost", "port": 18080}},
    }
    text = f'laptops = [("@fake/unfit", {unfit!r})]\nworkstations = ["@fake/desk"]'
    run = machine.pyinfra("-y", inventory(machine, text), "deploy.py")
    assert run.status == 1
    assert "[@fake/unfit] homeport: there is no python3" in run.output
    assert re.search(r"\[@fake/desk\] +\d+ changes made", run.output)


def test_settings_that_are_not_json(machine: Machine) -> None:
    (machine.home / ".claude").mkdir()
    (machine.home / ".claude" / "settings.json").write_text('{\n  "model": "opus"\n  "a": 1\n}\n')
    before = machine.tree()
    run = machine.pyinfra("-y", "inventory/try.py", "deploy.py")
    assert run.status == 1
    (line,) = complaints(run.output)
    assert "settings.json is not valid JSON (line 3 column 3: Expecting ',' delimiter)" in line
    assert machine.tree() == before


def test_removal_with_settings_that_are_not_json_touches_nothing(machine: Machine) -> None:
    (machine.home / ".claude").mkdir()
    (machine.home / ".claude" / "settings.json").write_text("{")
    before = machine.tree()
    run = machine.pyinfra("-y", "inventory/try.py", "remove.py")
    assert run.status == 1
    assert len(complaints(run.output)) == 1
    assert "is left" not in run.output
    assert machine.tree() == before


@pytest.mark.parametrize("script", ["deploy.py", "remove.py"])
def test_a_directory_that_is_not_homeports_is_left_alone(machine: Machine, script: str) -> None:
    (machine.home / "Documents").mkdir()
    (machine.home / "Documents" / "thesis.txt").write_text("years of work")
    before = machine.tree()
    data = "homeport_dir=~/Documents"
    run = machine.pyinfra("-y", "inventory/try.py", script, "--data", data)
    assert run.status == 1
    assert "Documents holds other things than homeport's. Choose another" in run.output
    assert machine.tree() == before


def test_two_deployments_in_one_home(machine: Machine) -> None:
    (machine.home / ".homeport" / "state").mkdir(parents=True)
    (machine.home / ".homeport" / "state" / "settings.json.record").write_text("{}")
    run = machine.pyinfra("-y", "inventory/try.py", "deploy.py")
    assert run.status == 1
    (line,) = complaints(run.output)
    assert "this home has another deployment, in " in line
    assert "Take it away first: pyinfra inventory/local.py remove.py" in line


def test_a_busy_port_is_named_with_its_process(machine: Machine) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", machine.port))
        squatter.listen()
        run = machine.pyinfra("-y", "inventory/try.py", "deploy.py")
    assert run.status == 1
    (line,) = complaints(run.output)
    assert f"port {machine.port} of claude-fable5 is in use by " in line
    assert f"(process {os.getpid()})" in line
    assert machine.tree() == {}


def test_a_port_that_is_no_number(machine: Machine) -> None:
    machine.environment = {"TRY_PORT": "abc"}
    run = machine.pyinfra("-y", "inventory/try.py", "deploy.py")
    (line,) = complaints(run.output)
    assert "routes['claude-fable5'].port is 'abc': it has to be a whole number" in line


def test_without_a_network_and_then_with_one(machine: Machine) -> None:
    """pip's failure is explained; neither it nor a kill at two moments confuses the next run."""
    with conftest.loopback_namespace() as enter:
        machine.prefix = enter
        run = machine.pyinfra("-y", "inventory/try.py", "deploy.py")
        machine.prefix = ()
    assert run.status == 1
    assert "homeport: pip could not install engine, " in run.output
    assert "Traceback" not in run.output
    assert "failed, see above" in run.last_lines[0]
    assert not (machine.home / ".claude").exists(), "later steps ran all the same"

    interrupted(machine, until=lambda: any(machine.directory.glob("env/*/lib/*/site-packages/xl*")))
    interrupted(
        machine,
        until=lambda: (
            (machine.directory / "service").exists()
            and any((machine.directory / "service").iterdir())
        ),
    )
    run = machine.pyinfra("-y", "inventory/try.py", "deploy.py")
    assert run.status == 0, run.output
    assert "answer:   The capital of France is Paris." in run.output
    assert machine.pyinfra("-y", "inventory/try.py", "deploy.py").last_lines[0] == "no changes"
    with server_of_another_home() as other:
        removed = machine.pyinfra("-y", "inventory/try.py", "remove.py")
        assert removed.status == 0
        assert machine.tree() == {}
        assert other.poll() is None, "a server of another home was ended"


@contextmanager
def server_of_another_home() -> Iterator[subprocess.Popen[bytes]]:
    """A process that says of itself that it serves a route of the same name for somebody else."""
    identity = {"HOMEPORT_SERVICE": "0123456789ab/homeport-try.claude-fable5:0"}
    process = subprocess.Popen(["sleep", "600"], env={**os.environ, **identity})
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def interrupted(machine: Machine, until: Callable[[], object]) -> None:
    """Kill pyinfra, and all it started, at the moment `until` becomes true."""
    pyinfra = str(Path(sys.executable).parent / "pyinfra")
    running = Running(
        [pyinfra, "-y", "inventory/try.py", "deploy.py"],
        machine.project,
        machine.variables(),
        machine.home.parent / "interrupted.log",
    )
    wait_until(until, 400)
    running.kill()
    time.sleep(0.5)
