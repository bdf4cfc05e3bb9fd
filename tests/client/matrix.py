"""Measure what each pinned Claude Code does through homeport, and write it into docs/clients.md.

usage: python -m tests.client.matrix [llama.cpp | vllm]...

As root. Each version has a process and a network of its own, with nothing but loopback; with vLLM,
which takes a minute to start, all share one. What is measured is compared with what is written by
test_matrix.py and test_matrix_vllm.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from homeport import ROOT
from homeport.model import Route

from ..conftest import client_versions, installed_client, loopback_namespace
from ..serving import llama, stack
from . import servers
from .scenarios import ON_THE_WIRE, SCENARIOS, Bench, Scenario

DOCUMENT = ROOT / "docs" / "clients.md"

#: version -> scenario -> what came of it
Measured = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Engine:
    """A real server, and what it is measured with."""

    title: str
    install: Callable[[], object]
    serve: Callable[[Path], AbstractContextManager[Route]]
    scenarios: dict[str, Scenario]
    together: bool
    """Whether the versions take turns at one server."""


ENGINES = {
    "llama.cpp": Engine(
        f"llama.cpp (xllamacpp {servers.xllamacpp_version()})",
        llama.installation,
        servers.llama_cpp,
        SCENARIOS,
        together=False,
    ),
    "vllm": Engine(
        f"vLLM {stack.VERSION}",
        stack.installation,
        servers.vllm_on_cpu,
        ON_THE_WIRE,
        together=True,
    ),
}


def measured(engine: str) -> Measured:
    """What every version does with `engine`; how many seconds each scenario took is printed."""
    ENGINES[engine].install()
    versions = client_versions()
    for version in versions:
        installed_client(version)
    groups = [versions] if ENGINES[engine].together else [[one] for one in versions]
    with ThreadPoolExecutor(len(groups)) as pool:
        found = pool.map(lambda group: _apart(engine, group), groups)
    return {version: cells for group in found for version, cells in group.items()}


def _apart(engine: str, versions: list[str]) -> Measured:
    """Measure these in a process and a network of their own."""
    words = [sys.executable, "-m", __spec__.name, "--here", engine, *versions]
    with loopback_namespace(versions[0]) as enter, tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*enter, *words],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found: Measured = json.loads(done.stdout)
    return found


def _here(name: str, versions: list[str]) -> Measured:
    engine = ENGINES[name]
    found: Measured = {version: {} for version in versions}
    with engine.serve(Path(tempfile.mkdtemp())) as server:
        for version in versions:
            bench = Bench(installed_client(version), server)
            for scenario, tried in engine.scenarios.items():
                started = time.monotonic()
                found[version][scenario] = _tried(tried, bench)
                seconds = time.monotonic() - started
                print(
                    f"{seconds:5.1f} s  {version}  {scenario}: {found[version][scenario]}",
                    file=sys.stderr,
                )
    return found


def _tried(scenario: Scenario, bench: Bench) -> str:
    try:
        return scenario(bench)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        return f"no: {str(error).partition(chr(10))[0]}"


def table(found: Measured) -> str:
    """What was measured, as a table of Markdown."""
    versions = list(found)
    rows = [["scenario", *versions], ["---"] * (len(versions) + 1)]
    rows += [[name, *(found[one][name] for one in versions)] for name in found[versions[0]]]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def written(engine: str) -> Measured:
    """What docs/clients.md says of `engine`."""
    part = _part(DOCUMENT.read_text(), engine)[1]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    heads, _, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    return {
        version: {row[0]: row[place] for row in rows}
        for place, version in enumerate(heads[1:], start=1)
    }


def _part(text: str, engine: str) -> tuple[str, str, str]:
    """What stands before, in and after the table of `engine`."""
    before, start, rest = text.partition(f"<!-- {engine} -->\n")
    inner, end, after = rest.partition(f"<!-- end of {engine} -->\n")
    return before + start, inner, end + after


def main() -> None:
    for engine in sys.argv[1:] or list(ENGINES):
        started = time.monotonic()
        found = f"With {ENGINES[engine].title}:\n\n{table(measured(engine))}"
        print(f"{found}{time.monotonic() - started:.0f} s")
        before, _, after = _part(DOCUMENT.read_text(), engine)
        DOCUMENT.write_text(f"{before}\n{found}\n{after}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--here"]:
        print(json.dumps(_here(sys.argv[2], sys.argv[3:])))
    else:
        main()
