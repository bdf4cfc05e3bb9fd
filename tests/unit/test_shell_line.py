"""The line in a shell's start-up file comes and goes without touching any other."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport import shell_line

DIRECTORY = "/home/jörg o'x/.homeport/bin"
LINE = shell_line.line(DIRECTORY, "homeport")
FISH_LINE = shell_line.fish_line(DIRECTORY, "/home/jörg o'x/.homeport/fish", "homeport")
TEXTS = st.text(st.sampled_from("ab #\n'\"$\r"), max_size=40)


@given(TEXTS)
def test_round_trip(text: str) -> None:
    with_line = shell_line.add(text, LINE, "homeport")
    assert with_line.startswith(text)
    assert with_line.splitlines()[-1].startswith(LINE)
    assert shell_line.remove(with_line, "homeport") == text


@given(TEXTS)
def test_adding_twice_changes_nothing(text: str) -> None:
    once = shell_line.add(text, LINE, "homeport")
    assert shell_line.add(once, LINE, "homeport") == once


@given(TEXTS, TEXTS)
def test_what_is_written_after_it_does_not_move_it(before: str, after: str) -> None:
    text = shell_line.add(before, LINE, "homeport") + after
    assert shell_line.add(text, LINE, "homeport") == text


def test_another_deployments_line_stays() -> None:
    other = shell_line.line(DIRECTORY, "homeport-try") + "\n"
    both = shell_line.add(other, LINE, "homeport")
    assert shell_line.remove(both, "homeport") == other


def test_an_older_version_of_the_line_is_replaced() -> None:
    older = shell_line.line("/old/bin", "homeport")
    assert shell_line.add(f"a\n{older}\nb\n", LINE, "homeport") == f"a\nb\n{LINE}\n"


def test_another_shells_line_is_found_as_well() -> None:
    text = shell_line.add("set -g x\n", FISH_LINE, "homeport")
    assert shell_line.add(text, FISH_LINE, "homeport") == text
    assert shell_line.remove(text, "homeport") == "set -g x\n"


def test_fishs_does_what_it_says_and_nothing_that_lasts(
    tmp_path: Path, needs: Callable[..., None]
) -> None:
    needs("fish")
    (tmp_path / "use-x.fish").write_text("function use-x; echo found; end\n")
    line = shell_line.fish_line(DIRECTORY, str(tmp_path), "homeport")
    script = f"set -gx PATH /bin\n{line}\n{line}\nstring join : $PATH; use-x; set -U"
    script += "; count (string match -- $fish_function_path[1] $fish_function_path)"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["fish", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    lines = [one for one in done.stdout.splitlines() if not one.startswith("__fish")]
    assert lines == [f"{DIRECTORY}:/bin", "found", "1"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "sh"])
def test_it_does_what_it_says(shell: str, needs: Callable[..., None]) -> None:
    needs(shell)
    script = f'set -eu\nPATH=/bin\n{LINE}\n{LINE}\nprintf "%s" "$PATH"'
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{DIRECTORY}:/bin"
