"""The engines of GPU hosts: command lines, causes of death, and what they are told of a token."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.catalog import MODELS
from homeport.doctor.engine_log import meaningful
from homeport.engines import Place, Serving, Version, pinned_version
from homeport.gpu_serving import changes
from homeport.gpu_settings import ENGINES
from homeport.model import Endpoint, Route, Token

GLM = MODELS["glm-5.2-fp8"]

ROUTES = st.builds(
    lambda alias, context, port, loopback: Route(
        replace(GLM, alias=alias, context=context),
        Endpoint("localhost" if loopback else "glm-host", port, Token("geheim")),
    ),
    alias=st.from_regex(r"claude-[a-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True).filter(
        lambda alias: alias != "claude-anthropic"
    ),
    context=st.integers(65_536, 1_000_000),
    port=st.integers(1, 65_535),
    loopback=st.booleans(),
)


def serving(route: Route, **changed: object) -> Serving:
    assert route.model.recipe
    base = Serving(route, "/w", Version("0.32.0"), route.model.recipe)
    return replace(base, **changed)  # type: ignore[arg-type]


def value(line: list[str], *options: str) -> str:
    return next(line[line.index(option) + 1] for option in options if option in line)


@given(ROUTES, st.sampled_from(sorted(ENGINES)))
def test_the_handshake_stands_in_the_command_line(route: Route, name: str) -> None:
    line = ENGINES[name].command_line(serving(route), None)
    assert value(line, "--served-model-name") == route.alias
    assert value(line, "--port") == str(route.endpoint.port)
    assert value(line, "--max-model-len", "--context-length") == str(route.model.context)
    assert value(line, "--host") == ("127.0.0.1" if route.endpoint.loopback else "0.0.0.0")
    assert "geheim" not in " ".join(line)
    assert "geheim" not in json.dumps(ENGINES[name].environment(serving(route)))


def test_vllm_has_the_guides_flags_and_those_it_forgot() -> None:
    line = " ".join(
        ENGINES["vllm"].command_line(serving(Route(GLM, Endpoint("localhost", 8000))), None)
    )
    for part in (
        "--tensor-parallel-size 8",
        "--max-model-len 262144",
        "--kv-cache-dtype fp8",
        "--enable-prefix-caching",
        "--served-model-name claude-glm",
        "--port 8000",
        "--enable-auto-tool-choice --tool-call-parser glm47 --reasoning-parser glm45",
        "--speculative-config.method mtp --speculative-config.num_speculative_tokens 5",
        "--max-num-batched-tokens 8192",
    ):
        assert part in line


def test_sglang_has_the_guides_flags_by_its_own_names() -> None:
    route = Route(GLM, Endpoint("localhost", 8000))
    line = " ".join(ENGINES["sglang"].command_line(serving(route), "/run/x.yaml"))
    for part in (
        "--model-path /w",
        "--tp-size 8",
        "--context-length 262144",
        "--kv-cache-dtype fp8_e4m3",
        "--tool-call-parser glm47 --reasoning-parser glm45",
        "--speculative-algorithm EAGLE --speculative-num-steps 5 --speculative-eagle-topk 1 "
        "--speculative-num-draft-tokens 6",
        "--mem-fraction-static 0.8 --enable-metrics",
        # It would log the token among its options.
        "--config /run/x.yaml --log-level warning",
    ):
        assert part in line


def test_several_hosts_find_each_other() -> None:
    place = Place(rank=1, members=("10.0.0.1", "10.0.0.2"))
    route = Route(GLM, Endpoint("localhost", 8000))
    line = " ".join(ENGINES["sglang"].command_line(serving(route, place=place), None))
    assert "--dist-init-addr 10.0.0.1:29501 --nnodes 2 --node-rank 1" in line


def test_how_a_token_is_told() -> None:
    assert ENGINES["vllm"].secret("abc").text == "VLLM_API_KEY=abc\n"
    assert ENGINES["sglang"].secret("abc").text == 'api-key: "abc"\n'
    assert "abc" not in repr(ENGINES["vllm"].secret("abc"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "KeyError: 'invalid tool call parser: glm74 (chose from { ... })'",
            "the name of a parser",
        ),
        (
            "KeyError: \"Reasoning parser 'qwen33' not found. Available parsers: glm45, qwen3\"",
            "the name of a parser",
        ),
        ("OSError: [Errno 98] Address already in use", "something else listens on its port"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "the GPUs ran out of"),
        (
            "ValueError: Free memory on device cuda:0 (11.2/139.8 GiB) on startup is less than",
            "the GPUs are not free (11.2/139.8 GiB)",
        ),
        ("ValueError: No available memory for the cache blocks.", "the context does not fit"),
        ("safetensors_rust.SafetensorError: incomplete metadata", "a file of the weights is"),
        (
            "ImportError('libnuma.so.1: cannot open shared object file: No such file')",
            "the library libnuma.so.1 is missing on the host",
        ),
        ("INFO all is well", None),
    ],
)
def test_the_cause_of_death_is_said(line: str, said: str | None) -> None:
    cause = ENGINES["vllm"].cause(["INFO starting", line, "INFO bye"])
    assert (said in cause) if said and cause else cause == said


def test_the_lines_that_matter_are_shown_once() -> None:
    lines = [
        "INFO 11-23 starting",
        '(Worker pid=7) ERROR 11-23 [a.py:1]   File "a.py", line 1',
        "(Worker pid=7) ERROR 11-23 [a.py:1] AttributeError: no such thing",
        "(EngineCore pid=6) ERROR 11-23 [b.py:2] AttributeError: no such thing",
        "RuntimeError: Engine core initialization failed.",
        "",
    ]
    assert meaningful(lines, 5) == [
        "AttributeError: no such thing",
        "RuntimeError: Engine core initialization failed.",
    ]
    assert meaningful(["one", "", "two"], 1) == ["two"]


def test_how_far_loading_is() -> None:
    line = "Loading safetensors checkpoint shards:  45% Completed | 31/70 [04:11<05:12,  8.2s/it]"
    for engine in ENGINES.values():
        assert engine.loading(line) == "loading weights, 45 % (31/70 files)"
        assert engine.loading("GET /health 200") is None


def test_what_a_restart_would_change() -> None:
    before = ("/srv/env/vllm-0.31.0-aa/bin/python", "-m", "m", "serve", f"/w/{'0' * 40}")
    after = ("/srv/env/vllm-0.32.0-bb/bin/python", "-m", "m", "serve", f"/w/{'1' * 40}")
    found = changes(
        (*before, "--max-model-len", "131072", "--names", "a", "b", "--old"),
        (*after, "--max-model-len", "262144", "--names", "a", "b", "--new=1"),
    )
    assert found == [
        "engine vllm-0.31.0-aa -> vllm-0.32.0-bb",
        "weights 000000000000 -> 111111111111",
        "max_model_len 131072 -> 262144",
        "old on -> (none)",
        "new (none) -> 1",
    ]


def test_the_version_comes_from_the_lock() -> None:
    text = "torch==2.13.0 \\\n    --hash=sha256:00\nvllm==0.32.0+cpu ; x == 'y' \\\n"
    assert pinned_version(text, "vllm") == Version("0.32.0+cpu")
    assert pinned_version(text, "sglang") is None
    assert not Version("0.32.0+cpu").on_gpus
    assert Version("0.9.10").before(0, 23)


def test_all_options_are_of_one_form() -> None:
    """What restarts are explained by: each option in a word of its own, with two dashes."""
    for engine in ENGINES.values():
        line = engine.command_line(serving(Route(GLM, Endpoint("localhost", 8000))), None)
        assert all(re.fullmatch(r"--[a-z][a-z0-9._-]*|[^-].*", word) for word in line)
