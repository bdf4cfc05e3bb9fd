"""What a user may write for GPU hosts, and what is refused before any connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from homeport.errors import SettingsError
from homeport.gpu_settings import GpuSettings, Peer
from homeport.preflight import cut_apart
from homeport.settings import HostData, HostSettings, of

GLM = {"model": "glm-5.2-fp8", "host": "glm-host", "port": 8000, "open_to_network": True}
SHARED = {"routes": {"claude-glm": GLM}, "serve": ["claude-glm"], "homeport_dir": "/srv/homeport"}


def fleet(*hosts: tuple[str, str], **values: Any) -> dict[str, HostSettings]:
    """The settings of GPU hosts (name, address), each with `values`."""
    data = {
        name: {**SHARED, "ssh_hostname": address, **values} for name, address in hosts
    }  # fmt: skip
    peers = tuple(Peer(name, one, origin) for name, one in data.items())
    return {
        name: of(HostData(name, ("gpu_hosts",), one, origin, peers)) for name, one in data.items()
    }


def origin(key: str) -> str:
    return "group_data/gpu_hosts.py"


def gpu(route: dict[str, Any] | None = None, **values: Any) -> GpuSettings:
    routes = {"claude-glm": {**GLM, **(route or {})}}
    found = fleet(("glm-host", "10.0.0.1"), routes=routes, **values)["glm-host"].gpu
    assert found
    return found


def lock(folder: Path, text: str) -> str:
    path = folder / "lock.txt"
    path.write_text(text)
    return str(path)


def test_the_default_is_the_recipe() -> None:
    found = gpu()
    assert (found.engine.NAME, str(found.version), found.gpus) == ("vllm", "0.32.0", 8)
    assert found.may_restart
    assert found.warnings == ()
    assert (found.members, found.head) == (("glm-host",), True)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"engine": "tgi"},
            "engine is 'tgi': no such engine serves on GPUs. Known are vllm, sglan",
        ),
        ({"serve": []}, "serve is []: a model gets all GPUs of a host"),
        ({"engine_lock": "none.txt"}, "engine_lock is 'none.txt': it cannot be read (No such file"),
        ({"engine_lock": "requirements-pull.txt"}, "it pins no version of vllm"),
        ({"restart": "always"}, "restart is 'always': there is no such way. Write when-needed or"),
        ({"nodes": 0}, "nodes is 0"),
        ({"homeport_dir": "~/.homeport"}, "a GPU host's server has a user of its own, who reaches"),
        ({"serving": {"tool_call_parser": "glm74"}}, "Did you mean 'glm47'?"),
        ({"serving": {"reasoning_parser": "glm48"}}, "version 0.32.0 has none of this name"),
        ({"serving": {"kv_cache_dtype": "int4"}}, "serving.kv_cache_dtype is 'int4'"),
        ({"serving": {"tensor_paralel_size": 4}}, "Did you mean 'tensor_parallel_size'?"),
        ({"serving": {"tensor_parallel_size": 0}}, "tensor_parallel_size is 0: a model needs one"),
        ({"serving": {"tensor_parallel_size": "8"}}, "it has to be a whole number"),
        ({"serving": {"gpu_memory_utilization": 90.0}}, "it is the share of a GPU's memory"),
        ({"serving": {"max_num_seqs": 0}}, "nothing could be served"),
        ({"serving": {"speculative_tokens": -1}}, "it is a number of tokens"),
        (
            {"engine_arguments": ["--port", "1"]},
            "homeport writes this option itself. Set it in the",
        ),
        ({"engine_arguments": ["--api-key=x"]}, "A command line is no place for a token"),
        (
            {"engine_arguments": ["--disable-log-requests"]},
            "the engine refuses it. Requests are not",
        ),
        ({"engine_arguments": ["--speculative-config.method", "x"]}, "Set speculative_tokens in"),
        ({"engine_arguments": [8192]}, "engine_arguments is 8192: it is not text. Write '8192'"),
        (
            {"engine": "sglang", "engine_arguments": ["--enable-prefix-caching"]},
            "RadixAttention does that, and is on",
        ),
        (
            {"engine": "sglang", "serving": {"reasoning_parser": "glm47"}},
            "Did you mean 'glm45'?",
        ),
        (
            {"nodes": 3},
            "3 hosts are to serve claude-glm (1 x 3), and the inventory has 1: glm-host",
        ),
        ({"replicas": 2}, "replicas is 2: 2 hosts are to serve claude-glm (2 x 1), and the invent"),
    ],
)
def test_bad_input_names_file_field_value_and_fix(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        gpu(**values)
    assert str(caught.value).startswith("group_data/gpu_hosts.py: ")
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("route", "said"),
    [
        ({"model": "gemma-4-12b-coder"}, "it is served by llama.cpp, on laptops"),
        ({"weights": "/models/glm.gguf"}, "leave the route's weights out"),
        ({"tls": True}, "a GPU host's server speaks plain http"),
        ({"context": 2_000_000}, "the model was trained for 1,000,000 tokens"),
    ],
)
def test_routes_that_no_gpu_host_serves(route: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        gpu(route)
    assert "routes['claude-glm']." in str(caught.value)
    assert said in str(caught.value)


def test_a_token_is_needed_on_the_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("homeport.tokens.ROOT", tmp_path)
    found = gpu({"open_to_network": False})
    token = found.route.endpoint.token
    assert token
    file = tmp_path / "secrets" / "claude-glm.token"
    assert file.read_text().strip() == token.value
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0.22.1", "vLLM before 0.23 refuses the system messages that Claude Code sends"),
        ("0.23.0", "tool calls of GLM 4.7 and later are parsed right since 0.24"),
        ("0.30.0", "CVE-2026-114053"),
        ("0.31.0", ""),
    ],
)
def test_versions(tmp_path: Path, version: str, said: str) -> None:
    path = lock(tmp_path, f"vllm=={version} \\\n    --hash=sha256:00\n")
    try:
        warnings = " ".join(gpu(engine_lock=path).warnings)
    except SettingsError as error:
        assert version == "0.22.1"
        warnings = str(error)
    assert (said in warnings) if said else not warnings


def test_an_old_sglang(tmp_path: Path) -> None:
    path = lock(tmp_path, "sglang==0.5.8 --hash=sha256:00\n")
    with pytest.raises(
        SettingsError, match=r"before 0\.5\.9 does not speak the Anthropic Messages"
    ):
        gpu(engine="sglang", engine_lock=path)


def test_a_lock_without_hashes(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="only what is hashed is installed"):
        gpu(engine_lock=lock(tmp_path, "vllm==0.32.0\n"))


def test_a_newer_engine_may_know_more_parsers(tmp_path: Path) -> None:
    path = lock(tmp_path, "vllm==0.40.0 --hash=sha256:00\n")
    assert gpu(engine_lock=path, serving={"tool_call_parser": "glm60"})


def test_replicas_serve_the_whole_model_each() -> None:
    found = fleet(("one", "10.0.0.1"), ("two", "10.0.0.2"), replicas=2)
    for name, one in found.items():
        assert one.gpu
        assert (one.gpu.members, one.gpu.head, one.gpu.gpus) == ((name,), True, 8)


def test_one_model_over_two_hosts() -> None:
    hosts = [(f"gpu-{number}", f"10.0.0.{number}") for number in (1, 2, 3, 4)]
    found = [one.gpu for one in fleet(*hosts, nodes=2, replicas=2).values()]
    places = [(one.place.rank, one.place.head, one.members[0], one.gpus) for one in found if one]
    assert places == [
        (0, "10.0.0.1", "gpu-1", 8),
        (1, "10.0.0.1", "gpu-1", 8),
        (0, "10.0.0.3", "gpu-3", 8),
        (1, "10.0.0.3", "gpu-3", 8),
    ]
    one = found[1]
    assert one
    line = " ".join(one.engine.command_line(one.serving("/w"), None))
    assert "--tensor-parallel-size 8 --pipeline-parallel-size 2 " in line
    assert line.endswith(
        "--distributed-executor-backend mp --nnodes 2 --node-rank 1 --master-addr 10.0.0.1 "
        "--master-port 29501 --headless"
    )
    assert one.engine.environment(one.serving("/w"))["VLLM_HOST_IP"] == "10.0.0.2"


@pytest.mark.parametrize(
    ("addresses", "said"),
    [
        (("glm-1", "10.0.0.2"), "inventory: a: address is 'glm-1'"),
        (("10.0.0.1", "10.0.0.1"), "inventory: b: address is '10.0.0.1'"),
        (("127.0.0.1", "10.0.0.2"), "Give each host the IP address that it has in the network"),
    ],
)
def test_the_hosts_of_one_model_need_addresses(addresses: tuple[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        fleet(("a", addresses[0]), ("b", addresses[1]), nodes=2)
    assert said in str(caught.value)


def test_gpus_that_hosts_cannot_share_evenly() -> None:
    serving = {"tensor_parallel_size": 3, "pipeline_parallel_size": 1}
    with pytest.raises(SettingsError, match=r"is 3 GPUs, which so many hosts cannot share evenly"):
        fleet(("a", "10.0.0.1"), ("b", "10.0.0.2"), nodes=2, serving=serving)


def test_hosts_of_one_route_have_the_same_settings() -> None:
    data = {
        name: {**SHARED, "replicas": 2, "engine": engine}
        for name, engine in (("a", "vllm"), ("b", "sglang"))
    }
    peers = tuple(Peer(name, one, origin) for name, one in data.items())
    with pytest.raises(SettingsError, match="b serves claude-glm as well, with 'sglang'"):
        of(HostData("a", ("gpu_hosts",), data["a"], origin, peers))


def test_limit_does_not_cut_a_model_apart() -> None:
    found = fleet(("a", "10.0.0.1"), ("b", "10.0.0.2"), nodes=2)

    class Named:
        name = "a"

    assert cut_apart([Named()], found) == [  # type: ignore[list-item]
        "--limit leaves out b, and claude-glm is served by a and b together. Name all of them"
    ]
    assert cut_apart(None, found) == []


def test_a_gpu_host_is_nothing_else() -> None:
    with pytest.raises(SettingsError, match="it is in gpu_hosts and workstations: a GPU host is"):
        of(HostData("box", ("gpu_hosts", "workstations"), SHARED))
