"""GPU hosts of a lab: the real vLLM without GPUs, and a model that answers as GLM does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..hub import Hub
from ..serving import stack, tiny_model
from ..serving.stack import VERSION
from .host import Host
from .lab import Lab
from .weights import hub_on, pin

REPO = "team/tiny-glm"
ALIAS = "claude-glm"
UNIT = f"homeport.{ALIAS}.service"
DIRECTORY = "/var/lib/homeport"
CONTEXT = 65_536

#: Nothing is compiled, and the model's numbers are what they are.
ARGUMENTS = ["--enforce-eager", "--dtype", "float32"]

#: Added to the catalog of the lab's copy of the project.
_MODEL = f"""
MODELS.clear()  # this lab's Hub has no other
MODELS["tiny-glm"] = Model(
    alias="claude-glm",
    label="Tiny GLM",
    description="A model of two megabytes that answers as GLM does",
    weights=HubWeights(repo={REPO!r}, files=("*.safetensors", "*.j*"), size=2_300_000),
    context={CONTEXT},
    trained_context=131_072,
    max_output=512,
    recipe=Recipe(
        tensor_parallel_size=1,
        gpu_memory=0,
        context={CONTEXT},
        tool_call_parser="glm47",
        reasoning_parser="glm45",
    ),
)
"""


def route(host: str = "gpu", **more: Any) -> dict[str, Any]:
    return {ALIAS: {"model": "tiny-glm", "host": host, "port": 8000, **more}}


def model() -> dict[str, bytes]:
    """The files of the model's repository."""
    with TemporaryDirectory() as folder:
        tiny_model.make(Path(folder))
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir())}


@dataclass
class Cluster:
    """A lab in which GPU hosts can be deployed to, and its Hub."""

    lab: Lab
    hub: Hub

    def inventory(self, *hosts: Host, version: str = VERSION, **data: Any) -> Path:
        """An inventory with these GPU hosts, all with `data`, at that version of the engine."""
        (self.lab.project / "engine.txt").write_text(stack.lock_of(version))
        given = {
            "routes": route(hosts[0].name),
            "engine_lock": "engine.txt",
            "engine_arguments": ARGUMENTS,
            **data,
        }
        return self.lab.inventory({"gpu_hosts": list(hosts)}, user="ops", **given)

    @property
    def token(self) -> str:
        return (self.lab.project / "secrets" / f"{ALIAS}.token").read_text().strip()


@contextmanager
def cluster_on(lab: Lab) -> Iterator[Cluster]:
    """Prepares `lab` before its first host is made."""
    installed = stack.installation()
    # Everything that pip is told of is seen by the hosts.
    found = lab.registries.pip
    found["find-links"] = f"{found.get('find-links', '')} {stack.wheels()}".strip()
    lab.binds.append(installed)
    with hub_on(lab, _MODEL) as hub:
        hub.commit(REPO, model())
        assert pin(lab).status == 0
        yield Cluster(lab, hub)
