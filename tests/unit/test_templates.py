"""Rendered definitions are accepted by the programs that read them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from homeport import render
from homeport.service import Manager, Service, supervisor_quote, systemd_quote


def service(program: str) -> Service:
    return Service(
        name="homeport.claude-fable5",
        owner="0123",
        description="claude-fable5: a model",
        command=(program, "--model", '/home/jörg o\'x/100% $HOME "m".gguf', "--temp", "0"),
        log="/tmp/log",
    )


def verify(unit: Path, content: bytes) -> str:
    """What systemd says of a user's unit. It ends with 0 for keys that it does not know, so
    anything that it says counts."""
    unit.write_bytes(content)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", unit],
        env={**os.environ, "XDG_RUNTIME_DIR": str(unit.parent)},
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


@pytest.fixture
def unit(tmp_path: Path, needs: Callable[..., None]) -> Path:
    needs("systemd-analyze")
    return tmp_path / "homeport.claude-fable5.service"


def test_systemd_takes_the_unit(unit: Path) -> None:
    assert verify(unit, render.definition(service("/bin/sh"), Manager.SYSTEMD, str(unit))) == ""


@pytest.mark.parametrize("once", [True, False])
def test_systemd_takes_the_machines_unit(unit: Path, once: bool) -> None:
    whole = replace(
        service("/bin/sh"),
        once=once,
        user="root",
        environment=(("HOME", '/var/cache/100% "x" $y'),),
        secrets="/etc/hostname",
        credential="/etc/hostname",
        writable=("/srv/we ights",),
        cache="homeport/claude-glm",
    )
    content = render.definition(whole, Manager.SYSTEM, str(unit))
    unit.write_bytes(content)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


def test_systemd_complains_of_what_is_wrong(unit: Path) -> None:
    """The test above can fail."""
    content = render.definition(service("/bin/sh"), Manager.SYSTEMD, str(unit))
    assert unit.name in verify(unit, content.replace(b"Restart=", b"Restrat="))


@pytest.mark.parametrize(
    ("word", "systemd", "supervisor"),
    [
        ("plain", '"plain"', "plain"),
        ("a b", '"a b"', "'a b'"),
        ("100%", '"100%%"', "100%%"),
        ("$x", '"$x"', "'$x'"),
        ('"', '"\\""', "'\"'"),
        ("\\", '"\\\\"', "'\\'"),
    ],
)
def test_quoting(word: str, systemd: str, supervisor: str) -> None:
    assert systemd_quote(word) == systemd
    assert supervisor_quote(word) == supervisor
