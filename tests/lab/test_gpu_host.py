"""A GPU host, from a bare Debian to its removal, with the real vLLM (CPU build): in this order."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from homeport import claude_code
from homeport.catalog import MODELS
from homeport.model import Endpoint, Route, Token

from .. import conftest
from ..running import Run, wait_until
from ..serving.stack import BROKEN, EMPTY, NEXT, VERSION
from .gpu import ALIAS, CONTEXT, DIRECTORY, REPO, UNIT, Cluster, route
from .host import Host

URL = "http://127.0.0.1:8000"

#: What every deploy proves, with what it says of each.
PROOFS = [
    f"{ALIAS} streams: ",
    f"{ALIAS} holds its context: 65,536 tokens",
    f"{ALIAS} answers: The capital of France is Paris.",
    f"{ALIAS} counts tokens: ",
    f'{ALIAS} calls a tool: get_weather({{"city": "Paris"}}), and takes its result',
    f"{ALIAS} takes a system message: inside a conversation",
    f"{ALIAS} reuses its prefix cache: ",
    "without the token these answer too, so keep others from port 8000, by a firewall or a proxy: "
    "/invocations (answers like /v1), /tokenize, ",
]


class Gpu:
    """The host, as it was before, and its first run."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.lab = cluster, cluster.lab
        self.host = self.lab.host("gpu", disk="10G")
        self.before = self.host.tree()
        self.packages = self.host.run("dpkg-query -W")
        self.first = self.deploy("-vvv", "--diff")

    def deploy(self, *options: str, version: str = VERSION, **data: Any) -> Run:
        return self.lab.deploy(self.cluster.inventory(self.host, version=version, **data), *options)

    @property
    def pid(self) -> int | None:
        return self.host.service(UNIT).pid

    def get(self, path: str, token: str = "") -> str:
        """The status with which the server answers, or curl's error."""
        header = f"-H 'Authorization: Bearer {token}'" if token else ""
        wanted = f"curl -s -o /dev/null -w '%{{http_code}}' {header} {URL}{path}"
        return self.host.run(wanted, check=False)

    def up(self) -> bool:
        return self.get("/health") == "200"

    def current(self) -> str:
        return self.host.file(f"{DIRECTORY}/env/current").readlink().name


@pytest.fixture(scope="module")
def gpu(cluster: Cluster) -> Gpu:
    return Gpu(cluster)


def test_the_first_run_proves_all_that_the_client_needs(gpu: Gpu) -> None:
    assert gpu.first.status == 0, gpu.first.output
    _, weights, answers, *proofs = gpu.first.of("gpu")
    assert weights.startswith(f"{REPO} is complete and verified: 8 files")
    said = rf"{ALIAS} \(Tiny GLM, 65,536 tokens, vllm 0\.32\.0\+cpu\) answers at http://gpu:8000: "
    assert re.match(said, answers)
    assert [line[: len(start)] for line, start in zip(proofs, PROOFS, strict=True)] == PROOFS


def test_it_runs_as_a_user_of_its_own_in_a_sandbox(gpu: Gpu) -> None:
    assert gpu.host.run(f"stat -c %U /proc/{gpu.pid}").strip() == "homeport"
    shown = gpu.host.run(
        f"systemctl show {UNIT} -p KillMode -p LimitMEMLOCK -p LimitNOFILE -p NoNewPrivileges "
        "-p ProtectSystem -p Restart -p StartLimitBurst -p CapabilityBoundingSet"
    )
    assert set(shown.split()) == {
        "KillMode=mixed",
        "LimitMEMLOCK=infinity",
        "LimitNOFILE=1048576",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "Restart=always",
        "StartLimitBurst=4",
        "CapabilityBoundingSet=",
    }
    checked = gpu.host.run(f"systemd-analyze verify /etc/systemd/system/{UNIT} 2>&1")
    assert checked == ""
    gpu.host.run(f"systemd-analyze security --threshold=25 {UNIT}")


def test_the_token_is_where_it_has_to_be_and_nowhere_else(gpu: Gpu) -> None:
    token = gpu.cluster.token
    names = gpu.host.run(f"ls {DIRECTORY}/service").split()
    assert [name.rpartition(".")[2] for name in names] == ["env", "token"]
    for name in names:
        file = gpu.host.file(f"{DIRECTORY}/service/{name}")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert token in file.read_text()
    commands = gpu.host.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    journal = gpu.host.run("journalctl -o cat")
    unit = gpu.host.file(f"/etc/systemd/system/{UNIT}").read_text()
    assert not [text for text in (gpu.first.output, commands, journal, unit) if token in text]
    assert (gpu.get("/v1/models"), gpu.get("/v1/models", token)) == ("401", "200")
    # As the last lines of the deploy say.
    assert gpu.get("/metrics") == "200"


def test_a_second_run_changes_nothing_and_restarts_nothing(gpu: Gpu) -> None:
    pid, after = gpu.pid, gpu.host.tree()
    run = gpu.deploy()
    assert run.status == 0, run.output
    assert run.of("gpu")[0] == "no changes"
    assert gpu.pid == pid
    assert gpu.host.difference(after) == {}


def test_the_real_client_runs_a_tool_through_it(gpu: Gpu) -> None:
    claude = conftest.installed_client()
    model = replace(
        MODELS["gemma-4-12b-coder"], alias=ALIAS, context=CONTEXT, max_output=512, sampling=None
    )
    endpoint = Endpoint(gpu.host.address, 8000, Token(gpu.cluster.token))
    folder = gpu.lab.folder / "client"
    folder.mkdir()
    done = subprocess.run(
        [*gpu.lab.network.words(), claude, "-p", "write the file", "--allowedTools", "Bash"],
        cwd=folder,
        env={
            **claude_code.environment(Route(model, endpoint)),
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.stdout.strip() == "Done: the file is written.", done.stderr
    assert (folder / "proof.txt").read_text() == "homeport"


def test_a_server_that_is_killed_comes_back(gpu: Gpu) -> None:
    before = gpu.host.run("pgrep -c -u homeport")
    gpu.host.run(f"kill -9 {gpu.pid}")
    wait_until(lambda: not gpu.up())
    wait_until(gpu.up, 400)
    # The engine's own processes did not outlive it; a new one may have some for a moment.
    wait_until(lambda: gpu.host.run("pgrep -c -u homeport") == before)
    assert gpu.deploy().of("gpu")[0] == "no changes"


def test_a_restart_is_announced_and_can_be_put_off(gpu: Gpu) -> None:
    pid = gpu.pid
    larger: dict[str, Any] = {"routes": route(context=70_000)}
    # Without --yes: that has pyinfra look at nothing beforehand.
    inventory = gpu.cluster.inventory(gpu.host, **larger)
    plan = gpu.lab.start(inventory, "--dry", terminal=True).wait()
    assert "would restart claude-glm: max_model_len 65536 -> 70000" in plan.output
    run = gpu.deploy("--data", "restart=never", **larger)
    assert run.status == 0, run.output
    assert run.of("gpu")[0] == "no changes"
    assert run.of("gpu")[2:] == [
        "claude-glm is due for a restart, which restart=never puts off: max_model_len 65536 -> "
        "70000",
        "claude-glm at http://gpu:8000 goes on answering as it was started",
    ]
    assert gpu.pid == pid


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            {"engine_arguments": ["--enforce-eager", "--no-such-option"]},
            "vllm 0.32.0+cpu would not start: unrecognized arguments: --no-such-option. Nothing "
            "was switched",
        ),
        (
            {"version": EMPTY},
            "vllm 0.32.3+cpu would not start: ModuleNotFoundError: No module named 'vllm'. Nothing "
            "was switched",
        ),
    ],
)
def test_what_the_engine_would_refuse_is_not_switched_to(
    gpu: Gpu, data: dict[str, Any], said: str
) -> None:
    pid, current = gpu.pid, gpu.current()
    run = gpu.deploy(**data)
    assert run.status == 1
    assert said in run.of("gpu")[-1]
    assert (gpu.pid, gpu.current()) == (pid, current)
    assert gpu.up()


def test_an_upgrade_is_built_beside_and_switched_to(gpu: Gpu) -> None:
    before = gpu.current()
    run = gpu.deploy(version=NEXT)
    assert run.status == 0, run.output
    assert "vllm 0.32.1+cpu) answers at" in run.of("gpu")[2]
    assert gpu.current().startswith("vllm-0.32.1+cpu-")
    assert gpu.host.file(f"{DIRECTORY}/env/{before}/complete").exists()


def test_an_upgrade_that_does_not_answer_is_taken_back(gpu: Gpu) -> None:
    current = gpu.current()
    run = gpu.deploy(version=BROKEN)
    assert run.status == 1
    assert run.of("gpu")[-1] == (
        "claude-glm: vllm 0.32.2+cpu does not stay up: its environment is broken (No module named "
        "'vllm._C'). It was taken back, the one before serves again"
    )
    assert gpu.current() == current
    assert gpu.get("/v1/models", gpu.cluster.token) == "200"


def test_what_was_taken_back_is_not_tried_again_by_itself(gpu: Gpu) -> None:
    pid = gpu.pid
    run = gpu.deploy(version=BROKEN)
    assert run.status == 1
    assert re.search(
        r"this was tried on [\d :-]+ and taken back, as it does not stay up", run.output
    )
    assert gpu.pid == pid
    # And what serves is as it should be; what was built in vain goes.
    assert gpu.deploy(version=NEXT).of("gpu")[0] == "1 change made"
    assert gpu.deploy(version=NEXT).of("gpu")[0] == "no changes"
    assert gpu.pid == pid


def test_a_proven_server_is_not_taken_back_for_a_bad_moment(gpu: Gpu) -> None:
    """What is wrong then is something else, and a restart would cost half an hour more."""
    pid, current = gpu.pid, gpu.current()
    gpu.host.run(f"kill -STOP {pid}")
    with gpu.lab.using("operations/engine.py", _WRONG_FOR=5):
        run = gpu.deploy(version=NEXT)
    gpu.host.run(f"kill -CONT {pid}")
    assert run.status == 1
    assert run.of("gpu")[-1].startswith("claude-glm does not answer: ")
    assert (gpu.pid, gpu.current()) == (pid, current)
    assert gpu.deploy(version=NEXT).of("gpu")[0] == "no changes"


def test_a_wrong_token_is_not_what_it_asks_for_after_a_change(gpu: Gpu) -> None:
    (gpu.lab.project / "other.token").write_text("anderes-token\n")
    run = gpu.deploy(version=NEXT, routes=route(token_file="other.token"))
    assert run.status == 0, run.output
    assert "its token, or its environment" in run.output
    assert gpu.get("/v1/models", "anderes-token") == "200"
    assert "anderes-token" not in run.output


def test_it_serves_again_after_a_reboot(gpu: Gpu) -> None:
    gpu.host.reboot()
    wait_until(gpu.up, 400)
    run = gpu.deploy(version=NEXT, routes=route(token_file="other.token"))
    assert run.of("gpu")[0] == "no changes"


def test_removal_leaves_nothing(gpu: Gpu) -> None:
    run = gpu.lab.remove(gpu.cluster.inventory(gpu.host))
    assert run.status == 0, run.output
    assert gpu.host.run("dpkg-query -W") == gpu.packages
    assert gpu.host.run("getent passwd homeport", check=False) == ""
    left = gpu.host.difference(gpu.before)
    packaging = ("var/lib/apt", "var/lib/dpkg", "var/cache/apt", "var/cache/debconf")
    accounts = tuple(f"etc/{name}" for name in ("passwd", "shadow", "group", "gshadow"))
    assert [path for path in left if not path.startswith((*packaging, *accounts))] == []


def test_a_port_that_somebody_else_has(gpu: Gpu) -> None:
    """And nothing is changed, since all is looked at first."""
    host: Host = gpu.host
    words = shlex.join(["python3", "-m", "http.server", "8000", "--bind", "0.0.0.0"])
    host.run(f"systemd-run --quiet --unit=other {words}")
    wait_until(lambda: "8000" in host.run("ss -Hltn"))
    before = host.tree()
    run = gpu.deploy()
    assert run.status == 1
    assert re.search(r"port 8000 of claude-glm is in use by \S*python3", run.output)
    assert host.difference(before) == {}
    host.run("systemctl stop other")
