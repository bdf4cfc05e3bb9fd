"""What homeport writes, for every model and engine, is taken by the engines' real parsers."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from homeport import ROOT
from homeport.catalog import MODELS
from homeport.claude_code import BACKGROUND_IDS
from homeport.engines import Engine, Place, Serving, pinned_version, sglang, vllm
from homeport.model import Endpoint, Model, Route, Token

from . import stack

SERVED = [name for name, model in MODELS.items() if model.recipe]


def serving(model: Model, engine: Engine, **changed: Any) -> Serving:
    version = pinned_version((ROOT / f"requirements-{engine.NAME}.txt").read_text(), engine.NAME)
    assert version and model.recipe
    route = Route(model, Endpoint("glm-host", 8000, Token("geheim")))
    return replace(
        Serving(route, "/weights", version, model.recipe, names=BACKGROUND_IDS), **changed
    )


def checked(engine: Engine, arguments: list[str]) -> dict[str, Any]:
    """What the program says that a GPU host asks before it switches."""
    program = ROOT / "homeport" / "remote" / "check_engine.py"
    done = subprocess.run(
        [stack.python(), program, engine.NAME, *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=300,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "HF_HUB_OFFLINE": "1"},
    )
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("engine", [vllm, sglang], ids=lambda engine: engine.NAME)
@pytest.mark.parametrize("name", SERVED)
def test_the_production_command_line(name: str, engine: Engine) -> None:
    """On one host, and with every part of a recipe, as one of two hosts."""
    model = MODELS[name]
    assert model.recipe
    full = replace(
        model.recipe, pipeline_parallel_size=2, max_num_seqs=64, max_num_batched_tokens=4096
    )
    place = Place(rank=1, members=("10.0.0.1", "10.0.0.2"))
    for one in (serving(model, engine), serving(model, engine, recipe=full, place=place)):
        assert engine.check(one) == []
        line = engine.command_line(one, "/run/credentials/x/claude-glm.yaml")
        assert checked(engine, line)["problem"] is None


def test_what_vllm_would_refuse() -> None:
    said = checked(vllm, ["/weights", "--no-such-option"])["problem"]
    assert said == "unrecognized arguments: --no-such-option"


def test_the_names_of_parsers_are_vllms() -> None:
    """Those that a typo is found by, before any connection."""
    for field, known in (
        ("--tool-call-parser", vllm.TOOL_PARSERS),
        ("--reasoning-parser", vllm.REASONING_PARSERS),
    ):
        said = checked(vllm, ["/weights", field, "none"])["problem"]
        assert tuple(said.rpartition("known are ")[2].split(", ")) == known


def test_the_names_of_parsers_are_sglangs() -> None:
    for field, known in (
        ("--tool-call-parser", sglang.TOOL_PARSERS),
        ("--reasoning-parser", sglang.REASONING_PARSERS),
    ):
        said = checked(sglang, ["--model-path", "/weights", field, "none"])["problem"]
        choices = said.rpartition("(choose from ")[2].rstrip(")").replace("'", "").split(", ")
        assert sorted(choices) == sorted(known)


def test_the_version_is_the_one_that_is_pinned() -> None:
    found = checked(vllm, ["/weights"])
    assert found == {"problem": None, "version": stack.VERSION}
    assert stack.VERSION.startswith(str(serving(MODELS[SERVED[0]], vllm).version))
