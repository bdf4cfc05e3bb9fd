"""What a llama-server says of itself, and the words that each build is given."""

from __future__ import annotations

import pytest

from homeport.catalog import MODELS
from homeport.engines.llama_cpp import (
    FLAGS,
    NEWEST_FLAGS,
    Flag,
    LlamaServer,
    cause,
    flags_in_help,
)
from homeport.facts.llama import CardFact, Program, ProgramFact
from homeport.memory import Kind, Memory
from homeport.model import Endpoint, Route, Token
from homeport.remote import serve_llama


@pytest.mark.parametrize(
    ("said", "build"),
    [
        (["version: 8920 (15fa3c493)", "built with AppleClang 17 for Darwin arm64"], 8920),
        (["0.00.1 I srv  init", "version: 0.3.0 (build 10621, commit c1d0e7a00)"], 10_621),
        (["version: 0.3.0-dev (build 10590, commit c1d0e7a00)"], 10_590),
        (["version: 0 (unknown)"], 0),
        (["version: 1.2.0 (abc)"], 0),
    ],
)
def test_the_build(said: list[str], build: int) -> None:
    assert ProgramFact().process([*said, "status=0"]) == Program(build)
    assert ProgramFact.default() is None
    assert Program(build).is_new_enough(9_511) == (build in (0, 10_621, 10_590))


def test_one_that_does_not_run() -> None:
    said = ["", "dyld: Library not loaded: libllama.dylib", "status=134"]
    found = ProgramFact().process(said)
    assert found.problem == "dyld: Library not loaded: libllama.dylib"
    assert not found.is_new_enough(1)


def test_the_largest_card_counts() -> None:
    said = """Available devices:
  CUDA0: NVIDIA GeForce RTX 3050 (4096 MiB, 3900 MiB free)
  CUDA1: NVIDIA GeForce RTX 4090 (24576 MiB, 24000 MiB free)
  Vulkan2: AMD Radeon(TM) Graphics (RADV RENOIR) (32000 MiB, 31000 MiB free)
  Vulkan3: llvmpipe (LLVM 17.0.6, 256 bits) (64000 MiB, 64000 MiB free)
  BLAS: OpenBLAS (0 MiB, 0 MiB free)"""
    assert CardFact().process(said.splitlines()) == 24_576 * 2**20


def test_the_newest_spelling_that_is_known() -> None:
    flag = Flag(("--new {}", "--old", "--older {}"), needed=False)
    assert flag.words("a b", frozenset({"--old", "--older"})) == ["--old"]
    assert flag.words("a b", frozenset({"--older"})) == ["--older", "a b"]
    assert flag.words("a b", frozenset({"--other"})) == []
    assert flag.words("a b", frozenset()) == ["--new", "a b"], "it was not asked"


def test_the_wheels_server_takes_every_flag() -> None:
    route = Route(MODELS["gemma-4-12b-coder"], Endpoint("localhost", 1, Token("x")))
    memory = Memory(Kind.RAM, 32 * 2**30, 32 * 2**30)
    words = LlamaServer(route, "/m.gguf", "/token", "/t.jinja", memory).command_line(NEWEST_FLAGS)
    options = serve_llama.arguments(words)
    assert (options.device, options.n_gpu_layers, options.cache_ram) == ("none", 0, 1024)
    assert (
        {word for word in words if word.startswith("--")}
        == NEWEST_FLAGS
        == set(flag.spellings[0].split()[0] for flag in FLAGS.values())
    )


def test_help_is_read() -> None:
    said = "--mmap, --no-mmap   (env: LLAMA_ARG_MMAP)\n-lm,   --load-mode MODE"
    assert flags_in_help(said) == {"--no-mmap", "--mmap", "--load-mode"}


def test_the_pinned_wheel_is_new_enough_for_every_model() -> None:
    """Its version ends with llama.cpp's build."""
    lock = (serve_llama.Path(__file__).parents[2] / "requirements-engine.txt").read_text()
    build = int(lock.partition("xllamacpp==")[2].split()[0].rpartition(".")[2])
    assert all(build >= model.laptop.build for model in MODELS.values() if model.laptop)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            "error loading model architecture: unknown model architecture: 'gemma5'",
            "this llama.cpp is too old for the model's architecture, gemma5",
        ),
        ("error: invalid argument: --no-mmap", "this llama.cpp does not know --no-mmap"),
        ("couldn't bind HTTP server socket, port: 18080", "another program has its port"),
        ("all is well", None),
    ],
)
def test_the_cause(line: str, sentence: str | None) -> None:
    assert cause(["error: invalid argument: --old", "something else", line]) == (
        sentence or "this llama.cpp does not know --old"
    )
