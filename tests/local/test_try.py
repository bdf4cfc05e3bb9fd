"""`make try` from a clean clone, again, after drift, and `make untry`: in this order."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from .. import conftest
from ..running import Run, copy_project, wait_until
from .conftest import HOME_NAME, Machine

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")

#: A settings file with an order, an indentation and keys of its own.
USER_SETTINGS = """{
\t"$schema": "https://json.schemastore.org/claude-code-settings.json",
\t"hooks": {"Stop": [{"hooks": [{"type": "command", "command": "true"}]}]},
\t"permissions": {"allow": ["Bash(ls:*)"], "deny": ["Read(.env)"]},
\t"unknownKey": {"b": 1, "a": [true, null, 1.5]},
\t"model": "opus"
}"""


Tried = tuple[Machine, Run, dict[str, str]]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    """`make try`, run once in a clean clone: the machine, the run, and the tree before it."""
    home = tmp_path_factory.mktemp("homes") / HOME_NAME
    (home / ".claude").mkdir(parents=True)
    (home / ".claude" / "settings.json").write_text(USER_SETTINGS)
    (home / ".claude" / "settings.json").chmod(0o640)
    (home / ".bashrc").write_text("alias ll='ls -l'\n")
    (home / ".profile").write_text("umask 022\n")
    machine = Machine(home, copy_project(home / "clone of homeport"), conftest.a_free_port())
    before = machine.tree()
    run = machine.make("try")
    yield machine, run, before
    machine.end_servers()


@pytest.fixture(scope="module")
def machine(tried: Tried) -> Machine:
    return tried[0]


def ask(machine: Machine, **body: object) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{machine.port}/v1/messages",
        json.dumps({"model": "claude-fable5", "max_tokens": 32, **body}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=180) as answer:
        found: dict[str, object] = json.load(answer)
        return found


def test_the_first_run_ends_with_a_real_answer(tried: Tried) -> None:
    _, run, _ = tried
    assert run.status == 0, run.output
    assert run.seconds < 400
    lines = run.last_lines
    assert "answers at http://127.0.0.1:" in lines[1]
    assert lines[2] == "question: Name the capital of France."
    assert lines[3].startswith("answer:   The capital of France is Paris. (")
    assert "tokens/s)" in lines[3]
    assert "next:     open a new terminal and type: source use-fable5.sh" in lines


def test_a_real_request_is_answered(machine: Machine) -> None:
    answer = ask(machine, messages=[{"role": "user", "content": "Name the capital of France."}])
    assert answer["model"] == "claude-fable5"
    assert "Paris" in json.dumps(answer["content"])


def test_a_conversation_with_a_late_system_message(machine: Machine) -> None:
    roles = ("user", "system", "assistant", "user")
    messages = [{"role": role, "content": "Name the capital of France."} for role in roles]
    assert ask(machine, messages=messages)["type"] == "message"


def test_settings_are_merged_and_nothing_is_lost(machine: Machine) -> None:
    file = machine.home / ".claude" / "settings.json"
    merged = json.loads(file.read_text())
    theirs = json.loads(USER_SETTINGS)
    assert list(merged)[: len(theirs)] == list(theirs)
    assert merged["permissions"] == {
        "allow": ["Bash(ls:*)"],
        "deny": ["Read(.env)", "WebSearch"],
        "defaultMode": "default",
    }
    assert merged["disableAutoMode"] == "disable"
    assert {key: merged[key] for key in ("hooks", "unknownKey", "model")} == {
        key: theirs[key] for key in ("hooks", "unknownKey", "model")
    }
    assert file.read_text().startswith('{\n\t"$schema"'), "the user's indentation"
    assert file.stat().st_mode & 0o777 == 0o640
    assert "ANTHROPIC" not in file.read_text(), "nothing that belongs to one endpoint"


def test_secrets_are_private(machine: Machine) -> None:
    routes = machine.directory / "routes"
    assert {file.name: file.stat().st_mode & 0o777 for file in routes.iterdir()} == {
        "claude-fable5.json": 0o600,
        "claude-fable5.token": 0o600,
    }
    assert machine.directory.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_new_terminal_finds_the_script(machine: Machine, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        conftest.missing(f"{shell} is not installed")
    command = "PATH=$PATH:/; command -v use-fable5.sh"
    done = subprocess.run(
        [str(program), "-i", "-c", command], env=machine.variables(), capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == str(machine.directory / "bin" / "use-fable5.sh")


def test_a_second_run_changes_nothing_and_says_so(machine: Machine) -> None:
    pids, tree = machine.servers(), tree_without_logs(machine)
    run = machine.make("try")
    assert run.status == 0, run.output
    assert run.last_lines[0] == "no changes"
    assert "Success" not in run.output.rpartition("--> Results:")[0]
    assert machine.servers() == pids, "the server was restarted"
    assert tree_without_logs(machine) == tree


def tree_without_logs(machine: Machine) -> dict[str, str]:
    return {path: state for path, state in machine.tree().items() if "/log/" not in path}


def test_drift_is_repaired(machine: Machine) -> None:
    tree, pids = tree_without_logs(machine), machine.servers()
    (machine.directory / "bin" / "use-fable5.sh").unlink()
    (machine.directory / "routes" / "claude-fable5.token").chmod(0o644)
    (machine.directory / "routes" / "claude-fable5.json").write_text("{}")
    (machine.directory / "service" / "homeport-try.claude-fable5.conf").write_text("; nothing")
    (machine.home / ".bashrc").write_text("alias ll='ls -l'\n")
    (machine.home / ".claude" / "settings.json").write_text(USER_SETTINGS)
    run = machine.make("try")
    assert run.last_lines[0] == "6 changes made", run.output
    assert tree_without_logs(machine) == tree
    assert machine.servers() == pids, "files were repaired; the running server was right"


def test_a_killed_server_comes_back_by_itself(machine: Machine) -> None:
    (pid,) = machine.servers()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: machine.servers() not in ([], [pid]))
    assert machine.make("try").last_lines[0] == "no changes"


def test_a_stopped_service_is_started_again(machine: Machine) -> None:
    machine.end_servers()
    run = machine.make("try")
    assert run.last_lines[0] == "1 change made", run.output
    assert len(machine.servers()) == 1


def test_a_server_whose_supervisor_was_killed_is_taken_over(machine: Machine) -> None:
    (supervisor,) = machine.supervisors()
    (orphan,) = machine.servers()
    os.kill(supervisor, signal.SIGKILL)
    run = machine.make("try")
    assert run.last_lines[0] == "1 change made", run.output
    assert len(machine.servers()) == 1 and machine.servers() != [orphan]


def test_the_script_names_the_command_that_starts_it(machine: Machine) -> None:
    machine.end_servers()
    script = str(machine.directory / "bin" / "use-fable5.sh")
    done = machine.run("bash", "-c", 'source "$0"', script)
    assert "nothing listens" in done.output
    command = done.output.split("start it: ")[1]
    assert machine.run("sh", "-c", command).status == 0
    wait_until(lambda: machine.servers())
    assert machine.make("try").last_lines[0] == "no changes"


def test_what_concerns_only_the_client_restarts_nothing(machine: Machine) -> None:
    inventory = machine.project / "inventory" / "try.py"
    text, pids = inventory.read_text(), machine.servers()
    inventory.write_text(text.replace('"port":', '"label": "Mine", "max_output": 400, "port":'))
    assert machine.make("try").last_lines[0] == "2 changes made"
    assert machine.servers() == pids
    inventory.write_text(text)
    assert machine.make("try").last_lines[0] == "2 changes made"
    assert machine.servers() == pids


def test_what_concerns_the_server_restarts_it_once(machine: Machine) -> None:
    pids, port = machine.servers(), machine.port
    machine.port = conftest.a_free_port()
    moved = machine.make("try")
    assert f"answers at http://127.0.0.1:{machine.port}" in moved.last_lines[1]
    assert len(machine.servers()) == 1 and machine.servers() != pids
    machine.port = port
    machine.make("try")
    assert machine.make("try").last_lines[0] == "no changes"


def test_a_route_that_is_gone_takes_its_files_and_its_server_along(machine: Machine) -> None:
    inventory = machine.project / "inventory" / "try.py"
    text, before = inventory.read_text(), tree_without_logs(machine)
    inventory.write_text(
        text.replace('"claude-fable5"', '"claude-two"').replace(
            '"show_answer"', '"serve": ["claude-two"], "show_answer"'
        )
    )
    run = machine.make("try")
    assert "claude-two (SmolLM2" in run.last_lines[1], run.output
    assert len(machine.servers()) == 1
    assert {path.name for path in (machine.directory / "bin").iterdir()} == {
        "homeport-doctor",
        "homeport-explain",
        "use-anthropic.sh",
        "use-two.sh",
    }
    assert not list(machine.directory.glob("*/claude-fable5.*[nt]")), "settings or a token"
    inventory.write_text(text)
    machine.make("try")
    assert tree_without_logs(machine).keys() == before.keys()
    assert len(machine.servers()) == 1


def test_a_token_is_asked_for_and_shown_nowhere(machine: Machine) -> None:
    """The server takes the route's token and no other; it is in no output and no command line."""
    inventory = machine.project / "inventory" / "try.py"
    text = inventory.read_text()
    inventory.write_text(text.replace('"port":', '"token_env": "SMALL_TOKEN", "port":'))
    machine.environment = {"SMALL_TOKEN": "geheimes-token-123"}
    script = str(machine.directory / "bin" / "use-fable5.sh")
    try:
        words = [
            ".venv/bin/python",
            "-P",
            "-m",
            "pyinfra",
            "-y",
            "-vvv",
            "--diff",
            "inventory/try.py",
            "deploy.py",
        ]
        run = machine.run(*words)
        assert "answer:   The capital of France is Paris." in run.output
        assert "geheim" not in run.output
        assert base64.b64encode(USER_SETTINGS.encode())[:60].decode() not in run.output
        assert not [pid for pid in machine.servers() if b"geheim" in command_line(pid)]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(machine, messages=[{"role": "user", "content": "?"}])
        holders = {file.name for file in files_with(b"geheimes-token-123", machine.directory)}
        assert holders == {"claude-fable5.token", "claude-fable5.json"}
        assert all(
            file.stat().st_mode & 0o77 == 0
            for file in files_with(b"geheimes-token-123", machine.directory)
        )
        (machine.directory / "routes" / "claude-fable5.token").write_text("another\n")
        said = machine.run("bash", "-c", 'source "$0"', script).output
        assert "takes another token. Run the deploy again" in said
    finally:
        inventory.write_text(text)
        machine.environment = {}
    machine.make("try")
    assert machine.make("try").last_lines[0] == "no changes"


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def files_with(content: bytes, folder: Path) -> list[Path]:
    files = [file for name in ("bin", "routes", "service", "state", "log", "lib")
             for file in (folder / name).iterdir()]  # fmt: skip
    return [file for file in files if content in file.read_bytes()]


def test_the_real_client_answers_with_no_network_but_loopback(machine: Machine) -> None:
    """The deploy itself asks the client, through the script, in a namespace of its own."""
    claude = conftest.installed_client()
    machine.end_servers()
    with conftest.loopback_namespace() as enter:
        machine.prefix, machine.path = enter, f"{claude.parent}:{machine.path}"
        try:
            before = machine.tree()
            run = machine.make("try")
            assert "claude:   The capital of France is Paris." in run.last_lines, run.output
            left = {path for path in machine.tree().keys() - before.keys() if "/log/" not in path}
            assert left <= {".homeport-try/service/homeport-try.claude-fable5.conf.pid"}
        finally:
            machine.end_servers()
            machine.prefix, machine.path = (), os.environ["PATH"]


def test_the_real_client_through_the_sourced_script(machine: Machine) -> None:
    """An env block in the user's settings that leads elsewhere does not win."""
    claude = conftest.installed_client()
    machine.end_servers()
    settings = machine.home / ".claude" / "settings.json"
    before = settings.read_text()
    elsewhere = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_MODEL": "claude-opus-4-8"}
    with conftest.loopback_namespace() as enter:
        machine.prefix, machine.path = enter, f"{claude.parent}:{machine.path}"
        machine.environment = {"ANTHROPIC_API_KEY": "sk-ant-left-over", "DISABLE_TELEMETRY": "1"}
        try:
            machine.make("try")
            settings.write_text(json.dumps({"env": elsewhere}))
            script = str(machine.directory / "bin" / "use-fable5.sh")
            line = 'cd; source "$0" -p "Name the capital of France." 2>/dev/null'
            run = machine.run("bash", "-c", line, script)
            assert run.output.strip() == "The capital of France is Paris."
        finally:
            settings.write_text(before)
            machine.end_servers()
            machine.prefix, machine.path, machine.environment = (), os.environ["PATH"], {}
    for name in (".claude.json", ".cache", ".local"):  # the client's own
        path = machine.home / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for path in (machine.home / ".claude").iterdir():
        if path.name != "settings.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_untry_leaves_the_machine_as_it_was(tried: Tried) -> None:
    machine, _, before = tried
    run = machine.make("untry")
    assert run.status == 0, run.output
    assert run.last_lines[-1] == "nothing of homeport-try is left"
    assert machine.tree() == before
    assert not (machine.project / ".venv").exists()
    assert not machine.servers() and not machine.supervisors()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", machine.port), timeout=1)


def test_untry_again_has_nothing_to_do(machine: Machine) -> None:
    assert machine.make("untry").last_lines[0] == "no changes"
