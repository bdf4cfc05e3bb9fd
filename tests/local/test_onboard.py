"""`make onboard` in a clean home: this machine becomes a laptop, with Python and make alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..hub import Hub
from ..lab import coder
from ..running import copy_project
from .conftest import Machine

#: Added to the clone's own group data.
OTHERS = """
hub_endpoint = {url!r}
routes["claude-fable5"].update(model="coder", port={port})
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.commit(coder.REPO, coder.files())
        yield hub


@pytest.fixture
def onboarded(machine: Machine, hub: Hub) -> Machine:
    """A clean clone whose laptop's model is at `hub`."""
    machine.project = copy_project(machine.home.parent / "project")
    coder.know(machine.project)
    data = machine.project / "group_data" / "all.py"
    data.write_text(data.read_text() + OTHERS.format(url=hub.url, port=machine.port))
    with (data.parent / "workstations.py").open("a") as people:
        people.write("claude_code = None  # test_client.py installs it\n")
    return machine


def test_onboard_again_and_remove(onboarded: Machine) -> None:
    before = onboarded.tree()
    early = onboarded.make("onboard")
    assert early.status != 0
    assert "weights.lock.json has no pin of it" in early.output
    assert "Type: make pin, and commit that file." in early.output
    assert onboarded.make("pin", "MODEL=coder").status == 0
    run = onboarded.make("onboard")
    assert run.status == 0, run.output
    assert " memory, without a GPU: Q" in run.output, "the quant, and the sum"
    served = run.of("@local")
    assert "(Gemma 4 12B Coder Q" in served[2] and "calls a tool" in served[2]
    assert f"at http://127.0.0.1:{onboarded.port}: " in served[2]
    assert "answer:   The capital of France is Paris. " in "\n".join(served)
    again = onboarded.make("onboard")
    assert again.of("@local")[0] == "no changes"
    pyinfra = onboarded.project / ".venv" / "bin" / "pyinfra"
    removed = onboarded.run(str(pyinfra), "-y", "inventory/local.py", "remove.py")
    assert removed.of("@local")[-1] == "nothing of homeport is left"
    assert onboarded.tree() == before
