"""The stand-ins are as strict as a Mac's programs. They run here without a host."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from . import DARWIN, HERE, Chip, power, sysctl, tools


class Mac:
    """A folder that is to the stand-ins what /opt/darwin is on a host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("lib", "state", "linux"):
            (folder / name).mkdir(parents=True)
        (folder / "lib/standins").symlink_to(HERE / "standins")
        (folder / "linux/bin").symlink_to("/usr/bin")
        (folder / "state/calls.jsonl").touch()
        self.be("arm64")
        self._start = f"import sys; sys.path.insert(0, {str(folder / 'lib')!r}); "
        self._start += "sys.argv.pop(0); from standins.runtime import main; main()"

    def be(self, chip: Chip) -> None:
        lines = "".join(f"{key}: {value}\n" for key, value in sysctl(chip).items())
        (self.folder / "state/sysctl").write_text(lines)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-ISBc", self._start, *argv]
        return subprocess.run(command, capture_output=True, cwd=self.folder, text=True)

    def run_checked(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """One of Linux's own programs, behind the check of its options."""
        tool = next(tool for tool in tools.CHECKED if tool.name == argv[0])
        script = tool.script((HERE / "files/filter").read_text())
        refused = self.folder / "lib/refused"
        refused.write_text(f'#!/bin/sh\nexec {sys.executable} -ISBc "{self._start}" refused "$@"\n')
        refused.chmod(0o755)
        script = script.replace("/opt/darwin", str(self.folder))
        command = ["sh", "-c", script, *argv]
        return subprocess.run(command, capture_output=True, cwd=self.folder, text=True)

    def refused(self) -> list[str]:
        lines = (self.folder / "state/calls.jsonl").read_text().splitlines()
        return [call["refused"] for call in map(json.loads, lines) if call["refused"]]


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    (tmp_path / "file").write_text("foo\n")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("file")
    return Mac(tmp_path)


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ("uname -sm", "Darwin arm64\n"),
        ("sw_vers -productVersion", "15.6\n"),
        ("sysctl -n hw.memsize", "17179869184\n"),
        ("stat -f %Lp:%z:%N file", "640:4:file\n"),
        ("stat -f %Sp%SY link", "lrwxrwxrwx -> file\n"),
        ("stat -L -f %Sp link", "-rw-r-----\n"),
        ("shasum -a 1 file", "f1d2d2f924e986ac86fdf7b36c94bcdf32beec15  file\n"),
        ("base64 -i file", "Zm9vCg==\n"),
        ("wc -c file", "       4 file\n"),
        ("readlink link", "file\n"),
        ("sed -n s/foo/bar/p file", "bar\n"),
        ("date -u -r 0 +%F", "1970-01-01\n"),
    ],
)
def test_output(mac: Mac, words: str, printed: str) -> None:
    assert mac.run(*words.split()).stdout == printed
    assert not mac.refused()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("uname --kernel-name", 1),
        ("pmset -g", 1),
        ("pmset displaysleepnow", 1),
        ("date -d yesterday", 1),
        ("base64 -w0", 64),
        ("df --output=avail .", 64),
        ("readlink -e link", 1),
        ("sed -z s/a/b/ file", 1),
        ("plutil -xml1 file", 1),
    ],
)
def test_what_a_mac_does_not_understand_is_refused(mac: Mac, words: str, status: int) -> None:
    assert mac.run(*words.split()).returncode == status
    assert len(mac.refused()) == 1


@pytest.mark.parametrize("words", ["cp --archive file new", "grep -P foo file", "grep foo -i file"])
def test_programs_of_both_have_only_a_macs_options(mac: Mac, words: str) -> None:
    assert mac.run_checked("grep", "-i", "FOO", "file").stdout == "foo\n"
    assert not mac.refused()
    assert mac.run_checked(*words.split()).returncode != 0
    assert len(mac.refused()) == 1


def test_a_linux_spelling_with_a_fallback_fails_and_is_no_mistake(mac: Mac) -> None:
    done = mac.run("stat", "-c", "%a", ".")
    assert done.returncode == 1
    assert done.stderr.startswith("stat: illegal option -- c\nusage: stat ")
    assert not mac.refused()


def test_sed_takes_the_next_word_for_the_extension(mac: Mac) -> None:
    assert mac.run("sed", "-i", "", "s/foo/bar/", "file").returncode == 0
    assert (mac.folder / "file").read_text() == "bar\n"
    assert mac.run("sed", "-i", "s/bar/baz/", "file").returncode == 1  # "file" is the script here


def test_an_unknown_oid(mac: Mac) -> None:
    done = mac.run("sysctl", "-n", "hw.nothing")
    assert (done.returncode, done.stderr) == (1, "sysctl: unknown oid 'hw.nothing'\n")


def test_an_intel_mac(mac: Mac) -> None:
    mac.be("x86_64")
    assert mac.run("uname", "-mp").stdout == "x86_64 i386\n"
    assert mac.run("sysctl", "-n", "hw.machine").stdout == "x86_64\n"
    assert mac.run("sysctl", "-n", "hw.optional.arm64").returncode == 1
    assert "RELEASE_X86_64" in mac.run("uname", "-v").stdout


def test_where_the_power_comes_from(tmp_path: Path) -> None:
    mac = Mac(tmp_path / DARWIN)
    power(tmp_path, "wall")
    assert mac.run("pmset", "-g", "batt").stdout == (
        "Now drawing from 'AC Power'\n"
        " -InternalBattery-0 (id=24576099)\t100%; charged; 0:00 remaining present: true\n"
    )
    power(tmp_path, "battery")
    assert mac.run("pmset", "-g", "batt").stdout.startswith("Now drawing from 'Battery Power'\n")
    power(tmp_path, "no battery")
    assert mac.run("pmset", "-g", "batt").stdout == "Now drawing from 'AC Power'\n"
