"""A router on this machine, in a home that is hard on quoting, kept up by supervisord."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from ..conftest import missing
from ..running import copy_project, wait_until
from .conftest import Machine

ROUTES = {
    "claude-glm": {
        "model": "glm-5.2-fp8", "host": "glm-host", "port": 8000, "open_to_network": True
    }
}  # fmt: skip


def pid(machine: Machine) -> int | None:
    """HAProxy's, of this home."""
    words = b"\0".join([b"-C", os.fsencode(machine.home / ".homeport/service"), b"-f"])
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if words in file.read_bytes():
                return int(file.parent.name)
        except OSError:
            continue
    return None


def test_router_again_and_remove(machine: Machine) -> None:
    if shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        missing("haproxy is not installed")
    machine.project = copy_project(machine.home.parent / "project")
    data = {"routes": ROUTES, "router": {"port": machine.port}, "claude_code": None}
    inventory = machine.project / "inventory/router.py"
    inventory.write_text(f"workstations = [('@local', {data!r})]\n")
    before = machine.tree()
    run = machine.pyinfra("--yes", "inventory/router.py", "deploy.py")
    assert run.status == 0, run.output
    assert f"the router at http://127.0.0.1:{machine.port} answers for claude-glm" in run.of(
        "@local"
    )
    first = pid(machine)
    assert first
    script = machine.home / ".homeport/bin/use-router.sh"
    checked = subprocess.run([script, "--check"], env=machine.variables(), capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, b"")
    again = machine.pyinfra("--yes", "inventory/router.py", "deploy.py")
    assert again.of("@local")[0] == "no changes"
    assert pid(machine) == first
    os.kill(first, 9)
    wait_until(lambda: pid(machine) not in (first, None))
    settings = json.loads((machine.home / ".homeport/routes/router.json").read_text())
    assert settings["env"]["ANTHROPIC_BASE_URL"] == f"http://127.0.0.1:{machine.port}"
    removed = machine.pyinfra("--yes", "inventory/router.py", "remove.py")
    assert removed.of("@local")[-1] == "nothing of homeport is left"
    assert machine.tree() == before
    assert pid(machine) is None
