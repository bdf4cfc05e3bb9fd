"""What the doctor makes of what managers, processes and servers say."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from homeport.doctor import (
    answers,
    asking,
    commands,
    engine_log,
    managers,
    metrics,
    processes,
    servers,
    trials,
)
from homeport.doctor.answers import Answers
from homeport.doctor.asking import Reply
from homeport.doctor.managers import Line, State
from homeport.doctor.metrics import Load
from homeport.doctor.processes import Listener, Process, Processes
from homeport.doctor.servers import Seen
from homeport.doctor.table import Unknown
from homeport.doctor.trials import Trials
from homeport.doctor.wanted import Service

from ..running import wait_until
from .test_doctor_servers import GLM, LLAMA, NOW

# What managers say


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (
            "LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\n"
            "UnitFileState=enabled\nMainPID=99\nExecMainStatus=0\n",
            State("running", 99),
        ),
        (
            "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=exit-code\n"
            "UnitFileState=enabled\nMainPID=0\nExecMainStatus=1\n",
            State("restarting", failure="it ended with status 1"),
        ),
        (
            "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=start-limit-hit\n"
            "UnitFileState=enabled\nMainPID=0\n",
            State("failed", failure="start-limit-hit", limited=True),
        ),
        (
            "LoadState=loaded\nActiveState=inactive\nSubState=dead\nResult=success\n"
            "UnitFileState=disabled\nMainPID=0\n",
            State("stopped", at_boot=False),
        ),
        (
            "LoadState=not-found\nActiveState=inactive\nSubState=dead\nResult=success\nMainPID=0\n"
            "UnitFileState=\n",
            State("missing", at_boot=False),
        ),
        (
            "LoadState=masked\nActiveState=inactive\nSubState=dead\nResult=success\nMainPID=0\n"
            "UnitFileState=masked\n",
            State("masked", at_boot=False),
        ),
    ],
)
def test_what_systemd_says(text: str, state: State) -> None:
    assert managers.systemds(text, lingers=True) == state


LAUNCHD = """gui/501/homeport.claude-fable5 = {
\tactive count = 1
\tpath = /Users/anna/Library/LaunchAgents/homeport.claude-fable5.plist
\tstate = running
\tprogram = /bin/sh
\targuments = {
\t\t/bin/sh
\t}
\truns = 1
\tpid = 812
\tlast exit code = (never exited)
}
"""


@pytest.mark.parametrize(
    ("text", "disabled", "state"),
    [
        (LAUNCHD, '"homeport.claude-fable5" => enabled', State("running", 812)),
        (LAUNCHD, '"homeport.claude-fable5" => true', State("running", 812, at_boot=False)),
        (
            LAUNCHD.replace("\tpid = 812\n", "").replace("(never exited)", "1"),
            "",
            State("restarting", failure="it ended with status 1"),
        ),
        (
            LAUNCHD.replace("\tpid = 812\n", "\tlast terminating signal = Killed: 9\n"),
            "",
            State("restarting", failure="it was ended by Killed: 9"),
        ),
        (LAUNCHD.replace("\tpid = 812\n", ""), "", State("stopped")),
    ],
)
def test_what_launchd_says(text: str, disabled: str, state: State) -> None:
    assert managers.launchds(text, disabled, "homeport.claude-fable5") == state


def test_a_journal() -> None:
    text = (
        "-- Journal begins at Fri 2026-11-20 --\n"
        "1795437600.100000 pad python[812]: ValueError: it broke:\n"
        "                                   a second line\n"
        "1795437601.200000 pad systemd[1]: x.service: Main process exited, code=exited\n"
        "1795437606.300000 pad systemd[1]: x.service: Scheduled restart job, counter is 1.\n"
        "1795437607.000000 pad kernel: Out of memory: Killed process 812 (python)\n"
    )
    lines = list(managers.journal(text))
    assert [line.text for line in lines if line.own] == ["ValueError: it broke:", "a second line"]
    assert managers.restarts(lines, NOW, 600) == 1
    assert managers.restarts(lines, NOW + 3600, 600) == 0
    assert managers.out_of_memory(lines) == "Out of memory: Killed process 812 (python)"


def test_what_the_kernel_killed_is_not_always_this_service() -> None:
    log = [Line("x.service: Main process exited, code=killed, status=9/KILL", NOW, False)]
    mine, others = (
        Line("Out of memory: Killed process 812 (python)", NOW - 1, False),
        Line("Out of memory: Killed process 13 (firefox)", NOW - 86_400, False),
    )
    assert managers.those_of(log, [others, mine]) == [mine]
    assert managers.those_of([], [others, mine]) == []


def test_what_supervisord_says() -> None:
    lines = managers.supervisors(
        [
            "2026-11-20 10:00:00,123 INFO spawned: 'homeport.x' with pid 12",
            "2026-11-20 10:00:01,456 INFO exited: homeport.x (exit status 1; not expected)",
            "2026-11-20 10:00:02,000 INFO gave up: homeport.x entered FATAL state",
        ]
    )
    assert len(lines) == 3
    assert lines[0].at is not None
    assert managers.restarts(lines, lines[0].at + 60, 600) == 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="supervisord is for Linux")
def test_a_supervisord_is_found_by_its_process(tmp_path: Path) -> None:
    conf, log = tmp_path / "x.conf", tmp_path / "x.log"
    service = replace(LLAMA, definition=str(conf), log=str(log))
    assert managers.state(service, "supervisord") == State("missing")
    conf.touch()
    assert managers.state(service, "supervisord") == State("stopped")
    daemon = subprocess.Popen(["sh", "-c", "sleep 60 & echo; wait", str(conf)], stdout=-1)
    assert daemon.stdout
    daemon.stdout.readline()
    Path(f"{conf}.pid").write_text(f"{daemon.pid}\n")
    running = managers.state(service, "supervisord")
    assert isinstance(running, State)
    assert (running.phase, bool(running.pid)) == ("running", True)
    os.kill(running.pid or 0, signal.SIGTERM)
    daemon.communicate()
    assert managers.state(service, "supervisord") == State("stopped")
    log.write_text("the last words\n")
    lines = managers.log(service, "supervisord")
    assert lines == (Line("the last words"),)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="supervisord is for Linux")
def test_a_supervisord_that_gave_up(tmp_path: Path) -> None:
    """Its child is gone, and its log says so."""
    conf = tmp_path / "x.conf"
    conf.touch()
    daemon = subprocess.Popen(["sh", "-c", "echo; read wait", str(conf)], stdin=-1, stdout=-1)
    assert daemon.stdout
    daemon.stdout.readline()
    Path(f"{conf}.pid").write_text(str(daemon.pid))
    (tmp_path / "x.log.supervisord").write_text(
        "2026-11-20 10:00:01,456 INFO exited: homeport.x (exit status 1; not expected)\n"
        "2026-11-20 10:00:02,000 INFO gave up: homeport.x entered FATAL state\n"
    )
    service = replace(LLAMA, definition=str(conf), log=str(tmp_path / "x.log"))
    found = managers.state(service, "supervisord")
    daemon.communicate()
    assert found == State("failed", failure="exit status 1", limited=True)


# Processes


def test_who_listens_on_linux() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr when retr uid  timeout\n"
        "   0: 0100007F:46A0 00000000:0000 0A 0:0 0:0 0  1000        0 77\n"
        "   1: 00000000:0016 00000000:0000 0A 0:0 0:0 0     0        0 78\n"
        "   2: 0100007F:46A0 0100007F:AAAA 01 0:0 0:0 0  1000        0 79\n"
    )
    assert dict(processes.listening_in(table)) == {
        "77": ("127.0.0.1", 18080, 1000),
        "78": ("0.0.0.0", 22, 0),
    }
    assert processes._address("00000000000000000000000001000000") == "::1"
    assert processes._address("0000000000000000FFFF00000100007F") == "127.0.0.1"


def test_who_listens_on_a_mac() -> None:
    text = "p812\nu501\nf6\nn127.0.0.1:18080\nf7\nn*:8000\np9\nu0\nf1\nn[::1]:631\n"
    assert list(processes.by_lsof(text)) == [
        Listener("127.0.0.1", 18080, 501, 812),
        Listener("0.0.0.0", 8000, 501, 812),
        Listener("::1", 631, 0, 9),
    ]
    (one,) = processes.by_ps("  812     1   501 SN   01-02:03:04 /bin/llama-server --port 18080\n")
    assert one == Process(812, 1, ("/bin/llama-server", "--port", "18080"), 93784.0, 501)


def test_a_tree_of_processes_owns_its_sockets() -> None:
    there = Processes(
        (
            Process(1, 0, ("init",), 9, 0),
            Process(5, 1, ("vllm",), 9, 7),
            Process(6, 5, ("engine",), 9, 7),
            Process(8, 1, ("other",), 9, 1000),
        ),
        (),
    )
    tree = there.below(5)
    assert [one.pid for one in tree] == [5, 6]
    assert there.owns(Listener("0.0.0.0", 8000, 7, 6), tree)
    assert there.owns(Listener("0.0.0.0", 8000, 7, None), tree)  # its process is not to be seen
    assert not there.owns(Listener("0.0.0.0", 8000, 1000, 8), tree)
    assert there.who(Listener("0.0.0.0", 8000, 1000, 8)) == "other (process 8)"
    assert Process(8, 1, ("/usr/bin/vllm", "serve", "--api-key", "k"), 9, 0).program == "vllm"


def test_no_secret_is_shown() -> None:
    words = (
        "sglang",
        "--api-key",
        "geheim-1",
        "--token=geheim-2",
        "http://u:geheim-3@h",
        "sk-geheim-4",
    )
    there = Processes((Process(8, 1, words, 9, 1000),), ())
    lines = [
        "ServerArgs(api_key='geheim-1', x=1)",
        "Authorization: Bearer geheim-2",
        "sk-ant-geheim-4",
        "non-default args: {'api_key': ['geheim-5', 'geheim-6'], 'password': 'a geheim-7'}",
        "vllm serve m --api-key geheim-8 --port 1",
        "proxy http://user:geheim-9/geheim-10@proxy:3128 refuses",
        "Invalid header value b'Bearer geheim-11\\nx'",
        "Authorization: Basic geheim-12",
        "['serve', '--api-key', 'geheim-13']",
        "api_keys=['geheim-14']",
    ]
    shown = there.who(Listener("0.0.0.0", 8000, 1000, 8)) + str(engine_log.meaningful(lines, 9))
    assert "geheim-" not in shown
    kept = "KeyError: 'invalid tool call parser: glm74', request (9000 tokens) exceeds"
    assert engine_log.without_secrets(kept) == kept


def test_the_build_of_a_llama_cpp(tmp_path: Path) -> None:
    package = tmp_path / "lib/python3.11/site-packages/xllamacpp-2026.10.11549.dist-info"
    package.mkdir(parents=True)
    tree = [Process(8, 1, (str(tmp_path / "bin/python"), "serve_llama.py"), 9, 1000)]
    for said, build in (("b8123-0a1b2c3d", 8123), ("b0-unknown", 11549)):
        seen = Seen(LLAMA, "systemd", State("running"), (), None, Answers((), version=said))
        assert servers._build(seen, tree) == build
    assert servers._build(seen, []) is None


def test_options_of_a_command_line() -> None:
    words = ("v", "serve", "/m", "--port=8000", "--a_b", "c", "--flag", "--last")
    assert processes.options(words) == {"--port": "8000", "--a-b": "c", "--flag": "", "--last": ""}


# What servers count


@pytest.mark.parametrize(
    ("engine", "text", "expected"),
    [
        (
            "vllm",
            '# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine="0"} 2.0\n'
            'vllm:num_requests_waiting{engine="0"} 1.0\nvllm:kv_cache_usage_perc{engine="0"} 0.95\n'
            'vllm:prefix_cache_queries_total{engine="0"} 100.0\n'
            'vllm:prefix_cache_hits_total{engine="0"} 90.0\n'
            'vllm:num_preemptions_total{engine="0"} 4.0\n',
            Load(2, 1, 0.95, 100, 90, 4),
        ),
        (
            "vllm",  # 0.15
            'vllm:num_requests_running{model_name="m"} 0.0\nvllm:num_requests_waiting{m="m"} 0.0\n'
            'vllm:gpu_cache_usage_perc{model_name="m"} 0.5\n',
            Load(0, 0, 0.5),
        ),
        (
            "vllm",  # two engines in one server
            'vllm:num_requests_running{engine="0"} 1\nvllm:num_requests_running{engine="1"} 2\n'
            'vllm:kv_cache_usage_perc{engine="0"} 0.1\nvllm:kv_cache_usage_perc{engine="1"} 0.99\n',
            Load(3, None, 0.99),
        ),
        (
            "sglang",
            'sglang:num_running_reqs{m="m"} 1.0\nsglang:num_queue_reqs{m="m"} 0.0\n'
            'sglang:token_usage{m="m"} 0.4\nsglang:prompt_tokens_total{m="m"} 50.0\n'
            'sglang:num_retracted_requests_total{m="m"} 2.0\n',
            Load(1, 0, 0.4, 50, 0, 2),
        ),
        (
            "llama_cpp",
            "llamacpp:prompt_tokens_total 345\nllamacpp:prompt_tokens_cached_total 318\n"
            "llamacpp:requests_processing 1\nllamacpp:requests_deferred 0\n",
            Load(1, 0, None, 663, 318),
        ),
        (
            "llama_cpp",
            "llamacpp:n_tokens_max 1806\nllamacpp:requests_processing 0\n",
            Load(0, longest=1806),
        ),
        (
            "llama_cpp",  # of 2025
            "llamacpp:kv_cache_usage_ratio 0.91\nllamacpp:requests_processing 0\n"
            "llamacpp:requests_deferred 2\n",
            Load(0, 2, 0.91),
        ),
    ],
)
def test_what_a_server_counts(engine: str, text: str, expected: Load) -> None:
    assert metrics.load(engine, text) == expected


def test_a_log_says_how_far_loading_is() -> None:
    assert engine_log.loading("vllm", "INFO Starting to load model /w...") == "loading weights"
    off = "WARNING Enforce eager set, disabling torch.compile and CUDAGraphs."
    assert engine_log.loading("vllm", off) is None
    assert engine_log.loading("vllm", "INFO CPU KV cache size: 4,096 tokens") == "warming up"
    assert engine_log.loading("sglang", "Capture cuda graph begin") == "capturing CUDA graphs"
    assert engine_log.loading("llama_cpp", "srv init: initializing ...") is None


# Asking a server


@dataclass
class Stand:
    """A server that answers as it is told to: it keeps what it was asked, and what of each request
    was asked before."""

    cache: bool = True
    tells: bool = True
    metrics: str = "llamacpp:requests_processing 0\nllamacpp:n_tokens_max 120\n"
    slots: tuple[Mapping[str, Any], ...] = ({"is_processing": True},)
    late: int = 200
    status: int = 200
    token: str = ""
    slow: float = 0.0
    replicas: int = 1
    asked: list[Mapping[str, Any]] = field(default_factory=list)
    kept: list[set[str]] = field(default_factory=lambda: [set(), set()])


class Answer(BaseHTTPRequestHandler):
    stand: Stand

    def log_message(self, *_: Any) -> None:
        pass

    def say(self, status: int, document: Any) -> None:
        content = document if isinstance(document, str) else json.dumps(document)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def do_GET(self) -> None:
        stand = self.stand
        if stand.token and self.headers["Authorization"] != f"Bearer {stand.token}":
            self.say(401, {"error": {"message": "Invalid API Key"}})
        elif self.path == "/v1/models":
            self.say(stand.status, {"data": [{"id": "claude-fable5", "meta": {"n_ctx": 65536}}]})
        elif self.path == "/metrics":
            self.say(200 if stand.metrics else 501, stand.metrics)
        elif self.path == "/slots":
            self.say(200, list(stand.slots))
        elif self.path == "/props":
            about = {"n_ctx": 32_768}
            self.say(200, {"default_generation_settings": about, "build_info": "b11549-0a"})

    def do_POST(self) -> None:
        stand = self.stand
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        stand.asked.append({**body, "session": self.headers["X-Claude-Code-Session-Id"]})
        if stand.slow:
            threading.Event().wait(stand.slow)
        if any(one["role"] == "system" for one in body["messages"]) and stand.late != 200:
            self.say(stand.late, {"error": {"message": "Conversation roles must alternate"}})
            return
        kept = stand.kept[len(stand.asked) % stand.replicas]
        beginning = body["messages"][0]["content"][:200]
        hit = 150 if stand.cache and beginning in kept else 0
        kept.add(beginning)
        usage = {"input_tokens": 160 - hit, "output_tokens": 1}
        self.say(
            200, {"usage": {**usage, "cache_read_input_tokens": hit} if stand.tells else usage}
        )


class Quiet(ThreadingHTTPServer):
    """Says nothing of a caller who did not wait for its answer."""

    def handle_error(self, *_: Any) -> None:
        pass


@contextmanager
def standing(stand: Stand) -> Iterator[Service]:
    handler = type("Handler", (Answer,), {"stand": stand})
    with Quiet(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        port = server.server_address[1]
        yield replace(LLAMA, port=port, url=f"http://127.0.0.1:{port}")
        server.shutdown()


def asked(stand: Stand, **changed: Any) -> Answers:
    with standing(stand) as service:
        reply, found = answers.asked(replace(service, **changed), deep=False)
    assert found, reply
    return found


def test_a_server_that_does_all_right() -> None:
    stand = Stand()
    got = asked(stand)
    assert (got.names, got.context, got.version) == (("claude-fable5",), 32_768, "b11549-0a")
    assert got.tries
    assert (got.tries.hits, got.tries.refused, got.tries.failed) == (150, "", "")
    assert isinstance(got.tries.took, float)
    assert len(stand.asked) == 3
    assert all(one["max_tokens"] == 1 for one in stand.asked)


@pytest.mark.parametrize(
    ("stand", "attribute", "expected"),
    [
        (Stand(cache=False), "hits", 0),
        (
            Stand(cache=False, tells=False),
            "hits",
            Unknown("it does not say what its prefix cache had"),
        ),
        (Stand(late=400), "refused", "400: Conversation roles must alternate"),
        (
            Stand(late=503),  # it was started anew meanwhile
            "refused",
            Unknown("it answers 503: Conversation roles must alternate"),
        ),
    ],
)
def test_what_requests_show(stand: Stand, attribute: str, expected: Any) -> None:
    got = asked(stand)
    assert getattr(got.tries, attribute) == expected


IDLE_METRICS = "llamacpp:requests_processing 0\n"


@pytest.mark.parametrize(
    ("stand", "untried"),
    [
        (Stand(metrics="llamacpp:requests_processing 1\n"), answers.AT_WORK),
        (Stand(metrics=""), answers.AT_WORK),
        (Stand(metrics=IDLE_METRICS + "llamacpp:n_tokens_max 2750\n"), answers.IN_USE),
        (Stand(metrics=IDLE_METRICS + "llamacpp:prompt_tokens_total 2750\n"), answers.IN_USE),
        (Stand(metrics="", slots=({"is_processing": False, "id_task": 5},)), answers.IN_USE),
        (Stand(metrics="", slots=({"is_processing": False, "id_task": -1},)), ""),
        (Stand(metrics=IDLE_METRICS + "llamacpp:n_tokens_max 0\n"), ""),
    ],
)
def test_a_llama_cpp_that_is_in_use_is_not_asked(stand: Stand, untried: str) -> None:
    """Nobody has to wait for the doctor, nor to have a conversation computed anew."""
    got = asked(stand)
    assert got.untried == untried
    assert bool(stand.asked) is bool(got.tries) is (not untried)


def test_a_deep_look_asks_a_llama_cpp_that_is_not_at_work() -> None:
    stand = Stand(metrics=IDLE_METRICS + "llamacpp:n_tokens_max 2750\n")
    with standing(stand) as service:
        _, got = answers.asked(replace(service, tools=False), deep=True)
    assert got
    assert got.tries
    assert (got.tries.hits, got.untried) == (150, "")


def test_a_gpu_server_at_work_is_asked_and_need_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trials, "ANSWER_TIMEOUT", 0.2)
    at_work = "vllm:num_requests_running 40\nvllm:num_requests_waiting 0\n"
    assert asked(Stand(metrics=at_work), engine="vllm").tries == Trials(ANY, 150, "", False, "")
    got = asked(Stand(metrics=at_work, slow=0.5), engine="vllm")
    assert (got.tries, got.untried) == (None, answers.AT_WORK)
    idle = at_work.replace("40", "0")
    late = asked(Stand(metrics=idle, slow=0.5), engine="vllm").tries
    assert late
    assert isinstance(late.took, Unknown)


def test_hits_of_others_are_not_taken_for_its_own() -> None:
    """What a server counts while it is at work is of all its users."""
    counts = "vllm:prefix_cache_queries_total 9\nvllm:prefix_cache_hits_total 9\n"
    busy = "vllm:num_requests_running 2\nvllm:num_requests_waiting 0\n" + counts
    told = asked(Stand(metrics=busy, cache=False), engine="vllm").tries
    assert told
    assert told.hits == 0
    silent = asked(Stand(metrics=busy, cache=False, tells=False), engine="vllm").tries
    assert silent
    assert isinstance(silent.hits, Unknown)


def test_where_some_wait_it_is_looked_at_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "BETWEEN", 0)
    idle = "vllm:num_requests_running 40\nvllm:num_requests_waiting 0\n"
    waiting = idle.replace("waiting 0", "waiting 3")
    assert len(asked(Stand(metrics=idle), engine="vllm").loads) == 1
    assert len(asked(Stand(metrics=waiting), engine="vllm").loads) == 3
    full = idle + "vllm:kv_cache_usage_perc 0.97\n"
    assert len(asked(Stand(metrics=full), engine="vllm").loads) == 3


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n"]
)
def test_an_answer_that_drips_has_a_deadline(start: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            caller, _ = listener.accept()
            with caller, suppress(OSError):
                caller.sendall(start)
                for _ in range(100):
                    caller.sendall(b"x")
                    threading.Event().wait(0.1)

        threading.Thread(target=drip, daemon=True).start()
        started = time.monotonic()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert asking.Server(url).ask("/v1/models", timeout=0.5).state == "silent"
        assert time.monotonic() - started < 2


def test_an_endless_answer_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_MOST", 8)
    with standing(Stand()) as service:
        assert len(asking.Server(service.url).ask("/v1/models").text) == 8


def test_a_token_is_in_nothing_that_is_said_of_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    with standing(Stand()) as service:
        for text in ("geheim-1\ngeheim-2", "geheim-ü"):
            file.write_text(text)
            reply, _ = answers.asked(replace(service, token=str(file)), False)
            assert isinstance(reply, Unknown)
            assert "geheim" not in reply.why
        direct = asking.Server(service.url, "geheim-1\ngeheim-2").ask("/v1/models")
        assert (direct.state, "geheim" in direct.text) == ("fails", False)


def test_a_program_that_does_not_end_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor what it started, which has its pipes; nvidia-smi may sleep in a driver for ever."""
    monkeypatch.setattr(commands, "PATIENCE", 0.3)
    monkeypatch.setattr(os, "killpg", lambda *_: None)
    pid = tmp_path / "pid"
    started = time.monotonic()
    said = commands.run(["/bin/sh", "-c", f"echo $$ > {pid}; sleep 20; :"], {})
    assert said == Unknown("sh says nothing for 0 s")
    assert time.monotonic() - started < 2
    monkeypatch.undo()
    os.killpg(int(pid.read_text()), signal.SIGKILL)


def test_what_a_killed_program_started_ends_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PATIENCE", 0.3)
    pid = tmp_path / "pid"
    commands.run(["/bin/sh", "-c", f"sleep 20 & echo $! > {pid}; wait"], {})

    def is_gone() -> bool:
        stat = Path(f"/proc/{pid.read_text().strip()}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    wait_until(is_gone)


def test_a_session_that_goes_to_several_replicas() -> None:
    got = asked(Stand(replicas=1), replicas=2)
    assert got.tries
    assert got.tries.scattered is False
    stand = Stand(replicas=2)
    with standing(stand) as service:
        server = asking.Server(service.url)
        assert trials._scattered(replace(service, replicas=2), server, "claude-fable5") is True
    assert {one["session"] for one in stand.asked} == {"homeport-doctor"}


def test_a_server_that_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "ANSWER_TIMEOUT", 0.1)
    got = asked(Stand(slow=0.5))
    assert got.tries
    assert isinstance(got.tries.took, Unknown)
    assert "one token within" in got.tries.took.why


def test_the_token_of_the_server_is_what_it_is_asked_with(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("geheim\n")
    with standing(Stand(token="geheim")) as service:
        assert answers.asked(replace(service, token=str(file)), False)[1]
        file.write_text("anderes\n")
        reply, found = answers.asked(replace(service, token=str(file)), False)
        assert isinstance(reply, Reply)
        assert (reply.state, found) == ("token", None)
        gone = answers.asked(replace(service, token=f"{file}.gone"), False)
        assert isinstance(gone[0], Unknown)


def test_what_else_a_first_question_meets(free_port: int) -> None:
    nobody = asking.Server(f"http://127.0.0.1:{free_port}")
    assert nobody.ask("/v1/models").state == "refused"
    with standing(Stand(status=503)) as service:
        reply, _ = answers.asked(service, False)
        assert isinstance(reply, Reply)
        assert reply.state == "loading"
    with standing(Stand(status=500)) as service:
        reply, _ = answers.asked(service, False)
        assert isinstance(reply, Reply)
        assert reply.state == "fails"


def test_it_is_asked_past_what_is_in_front_of_it() -> None:
    assert answers.local_url(GLM) == "http://127.0.0.1:8000"
    assert answers.local_url(replace(GLM, bind="10.0.0.7")) == "http://10.0.0.7:8000"
    assert answers.local_url(replace(LLAMA, bind="::1")) == "http://[::1]:18080"
