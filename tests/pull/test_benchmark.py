"""The benchmark runs from end to end; what it measures depends on the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from homeport import ROOT


def test_the_quick_benchmark(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.pull", "--quick", "--folder", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert "0.20 GB in 24 files, 1 rounds" in done.stdout
    assert "hf download, 8 workers" in done.stdout
    assert "ratio to the better of the others: " in done.stdout
    assert ", 0 requests" in done.stdout
    assert "pull.py status, Python 3." in done.stdout
    assert not list(tmp_path.iterdir()), "nothing is left"
