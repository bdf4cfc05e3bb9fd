"""llama-server takes the options of its build, and no others. Nothing here loads the engine."""

from __future__ import annotations

import pytest

from homeport.engines.llama_cpp import flags_in_help

from ..darwin import Chip
from . import NEW, OLD, TOO_OLD
from .conftest import Machine

BETWEEN = 10_500  # had both names for how a model is loaded


@pytest.mark.parametrize(
    ("number", "has", "lacks"),
    [
        (OLD.number, {"--no-mmap"}, {"--load-mode", "--cors-origins"}),
        (BETWEEN, {"--no-mmap", "--load-mode", "--cors-origins"}, set()),
        (NEW.number, {"--load-mode", "--cors-origins"}, {"--no-mmap"}),
    ],
)
def test_what_a_build_knows(machine: Machine, number: int, has: set[str], lacks: set[str]) -> None:
    known = flags_in_help(machine.server(number, "--help").stdout)
    assert has <= known
    assert not lacks & known
    for flag in lacks:
        done = machine.server(number, flag)
        assert (done.returncode, done.stderr) == (1, f"error: invalid argument: {flag}\n")


def test_its_help_looks_as_llama_cpps(machine: Machine) -> None:
    lines = machine.server(NEW.number, "--help").stdout.splitlines()
    assert lines[:3] == [
        "----- common params -----",
        "",
        "-h,    --help, --usage                  print usage and exit",
    ]
    assert "-ngl,  --gpu-layers, --n-gpu-layers N   " in "\n".join(lines)
    assert "--chat-template-file JINJA_TEMPLATE_FILE" in lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--prot 1", "error: invalid argument: --prot"),
        ("model.gguf", "error: invalid argument: model.gguf"),
        ("--port=1", "error: invalid argument: --port=1"),
        ("--port x", 'error while handling argument "--port": stoi'),
        ("--port", 'error while handling argument "--port": expected value for argument'),
        ("-ctk q9", 'error while handling argument "-ctk": Unsupported cache type: q9'),
        ("--api-key-file f", 'error while handling argument "--api-key-file": error: failed to'),
        ("--model m --device MTL1", 'error while handling argument "--device": invalid device'),
        ("--port 1", "error: --model is required"),
    ],
)
def test_a_command_line_that_is_none(machine: Machine, words: str, said: str) -> None:
    done = machine.server(NEW.number, *words.split())
    assert done.returncode == 1
    assert done.stderr.startswith(said)


def test_variables_that_set_options_are_not_read(machine: Machine) -> None:
    assert (
        "does not read" in machine.server(NEW.number, "--help", env={"LLAMA_ARG_PORT": "1"}).stderr
    )


@pytest.mark.parametrize(
    ("chip", "gigabytes", "devices"),
    [
        ("arm64", 8, ["MTL0: Apple M4 Pro (5461 MiB, 5460 MiB free)"]),
        ("arm64", 16, ["MTL0: Apple M4 Pro (12124 MiB, 12123 MiB free)"]),
        ("arm64", 20, ["MTL0: Apple M4 Pro (15360 MiB, 15359 MiB free)"]),
        ("x86_64", 16, []),
    ],
)
def test_the_devices_of_a_mac(
    machine: Machine, chip: Chip, gigabytes: int, devices: list[str]
) -> None:
    machine.be(chip, gigabytes)
    listed = machine.server(NEW.number, "--list-devices").stdout.splitlines()
    blas = "BLAS: Accelerate (0 MiB, 0 MiB free)"
    assert listed == ["Available devices:", *(f"  {line}" for line in [*devices, blas])]


def test_the_devices_of_a_host_that_is_none(machine: Machine) -> None:
    listed = machine.server(NEW.number, "--list-devices").stdout
    assert listed == "Available devices:\n  BLAS: OpenBLAS (0 MiB, 0 MiB free)\n"


def test_the_version_of_then_and_now(machine: Machine) -> None:
    machine.be("arm64")
    built = "\nbuilt with AppleClang 17.0.0.17000604 for Darwin arm64\n"
    old = machine.server(OLD.number, "--version")
    assert (old.stdout, old.stderr) == ("", f"version: 9800 (000002648){built}")
    new = machine.server(NEW.number, "--version", version=NEW.version).stderr
    assert new.endswith(f"\nversion: 0.6.0 (build 11549, commit 000002d1d){built}")


def test_one_that_is_too_old_for_the_model(machine: Machine) -> None:
    done = machine.server(TOO_OLD.number, "--model", "model.gguf")
    assert done.returncode == 1
    assert (
        "error loading model: error loading model architecture: "
        "unknown model architecture: 'gemma4'\n" in done.stderr
    )
