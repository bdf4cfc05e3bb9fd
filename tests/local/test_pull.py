"""A pull where no systemd is, as in a container: this machine, as a laptop."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from ..hub import Hub, Trickle
from ..lab.weights import gguf
from ..running import Running, copy_project, wait_until
from .conftest import Machine
from .test_bad_input import inventory

REPO = "team/small"
MODEL = f"""
MODELS["small"] = Model(
    alias="claude-fable5", label="Small", description="Small",
    weights=HubWeights(repo={REPO!r}, files=("*.gguf",), size=1),
    context=8_192, trained_context=8_192, max_output=512, smallest_context=8_192,
    laptop=LaptopRecipe(build=MESSAGES_BUILD, tools=False),
)
for name in [name for name in MODELS if name != "small"]:
    if isinstance(MODELS[name].weights, HubWeights):
        del MODELS[name]
"""
FLEET = """
laptops = [("@local", {
    "routes": {"claude-fable5": {"model": "small", "host": "localhost", "port": PORT}},
    "hub_endpoint": URL,
})]
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.commit(REPO, {"m.gguf": gguf()})
        yield hub


def pulls(machine: Machine) -> str:
    """The processes that pull, or supervise that."""
    found = subprocess.run(
        ["pgrep", "-af", f"{machine.home}/.homeport/.*pull"], capture_output=True, text=True
    )
    return found.stdout


def test_it_goes_on_when_the_deploy_is_gone(machine: Machine, hub: Hub, free_port: int) -> None:
    machine.project = copy_project(machine.home.parent / "project")
    catalog = machine.project / "homeport" / "catalog.py"
    catalog.write_text(catalog.read_text() + MODEL)
    data = machine.project / "group_data" / "all.py"
    data.write_text(f"{data.read_text()}\nhub_endpoint = {hub.url!r}\n")
    assert machine.run("make", "pin", f"VENV={sys.prefix}").status == 0
    fleet = inventory(machine, FLEET.replace("URL", repr(hub.url)).replace("PORT", str(free_port)))
    hub.fault("m.gguf", Trickle(after=0, bytes_per_second=1_000_000))
    words = [f"{sys.prefix}/bin/pyinfra", "-y", fleet, "deploy.py"]
    first, second = (machine.home.parent / f"{name}.log" for name in ("first", "second"))
    early = Running(words, machine.project, machine.variables(), first)
    weights = machine.home / ".homeport" / "weights" / REPO
    wait_until(lambda: [*weights.glob("*/*.homeport-part")])
    early.kill()
    late = Running(words, machine.project, machine.variables(), second)
    late.wait_for("is being pulled already, as process ")
    hub.faults.clear()
    run = late.wait()
    assert run.status == 0, run.output
    assert f"{REPO} is complete and verified: 1 files, 98.4 MB" in run.output
    assert (weights / "current" / "m.gguf").read_bytes() == gguf()
    assert hub.bytes_sent("m.gguf") == len(gguf())
    wait_until(lambda: pulls(machine) == "")  # supervisord may be about to end
    again = machine.pyinfra("-y", fleet, "deploy.py")
    assert again.of("@local")[0] == "no changes"
    assert machine.pyinfra("-y", fleet, "remove.py").status == 0
    assert not (machine.home / ".homeport").exists()
