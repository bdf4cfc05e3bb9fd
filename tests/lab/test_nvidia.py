"""A host whose nvidia-smi, a stand-in, says what real ones do: nothing is changed on it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from homeport.catalog import MODELS
from homeport.weights import HubWeights

from ..running import Run
from .lab import Lab
from .routes import CLUSTER

H200 = {
    "name": "NVIDIA H200",
    "memory.total": 143_771,
    "driver_version": "580.95.05",
    "fabric.state": "Completed",
    "fabric.status": "Success",
}
H100 = {**H200, "name": "NVIDIA H100 80GB HBM3", "memory.total": 81_559}

#: What is wrong with a lab host as such, which is small, and has no room for 750 GB.
SMALL = ("of memory, and the server", "still to come", "/dev/shm")


class Gpu:
    def __init__(self, lab: Lab) -> None:
        self.lab, self.host = lab, lab.host("glm-host")
        weights = MODELS["glm-5.2-fp8"].weights
        assert isinstance(weights, HubWeights)
        file = {"size": 750_000_000_000, "sha256": "0" * 64}
        files = {"model-00001-of-00001.safetensors": file, "config.json": {**file, "size": 900}}
        pins = {weights.repo: {"revision": "0" * 40, "files": files}}
        (lab.project / "weights.lock.json").write_text(json.dumps(pins))
        program = self.host.file("/usr/bin/nvidia-smi")
        program.write_text((Path(__file__).parent / "nvidia_smi.py").read_text())
        program.chmod(0o755)

    def deploy(self, **state: Any) -> Run:
        self.host.file("/etc/nvidia-smi.json").write_text(json.dumps(state))
        inventory = self.lab.inventory({"gpu_hosts": [self.host]}, user="ops", routes=CLUSTER)
        return self.lab.deploy(inventory)


@pytest.fixture(scope="module")
def gpu(lab: Lab) -> Gpu:
    return Gpu(lab)


def said_of(run: Run) -> list[str]:
    return re.findall(r"\[glm-host\] homeport: (.*)", run.output)


def wrong(run: Run) -> list[str]:
    """What a run says of the GPUs."""
    assert run.status == 1
    return [line for line in said_of(run) if not any(part in line for part in SMALL)]


def test_eight_healthy_gpus(gpu: Gpu) -> None:
    run = gpu.deploy(gpus=[H200] * 8)
    assert wrong(run) == []
    # The rest of what is wrong with it is said at once.
    assert len(said_of(run)) >= 2


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"gpus": [H200] * 7}, r"split over 8 of its GPUs .* and it has 7\."),
        (
            {"error": "Unable to determine the device handle for GPU0000:1B:00.0: GPU is lost. "
                      "Reboot the system to recover this GPU"},
            r"a GPU is lost: nvidia-smi says 'Unable .*journalctl -k \| grep -i xid",
        ),
        (
            {"error": "Failed to initialize NVML: Driver/library version mismatch\n"
                      "NVML library version: 580.95"},
            r"was upgraded and the old one still runs\. Type: sudo reboot",
        ),
        (
            {"gpus": [{**H200, "driver_version": "550.54.15"}] * 8},
            r"driver is 550\.54\.15, and vllm 0\.32\.0 is built for CUDA 13, which needs 580 or",
        ),
        ({"gpus": [H100] * 8}, r"give 615\.7 GB .*What fits: 2 hosts like this together"),
        (
            {"gpus": [H200] * 8, "processes": [
                {"pid": 4711, "process_name": "/usr/bin/python3", "used_memory": 1024}]},
            r"process 4711 \(/usr/bin/python3\) has 1\.1 GB on its GPUs\. End that",
        ),
        (
            {"gpus": [{**H200, "fabric.state": "In Progress", "fabric.status": "N/A"}] * 8},
            r"NVSwitch is not ready \(In Progress, N/A\)",
        ),
    ],
    ids=["seven", "lost", "mismatch", "driver", "memory", "process", "fabric"],
)  # fmt: skip
def test_what_is_wrong_with_them(gpu: Gpu, state: dict[str, Any], said: str) -> None:
    gpu.deploy(**state)
    before = gpu.host.tree()
    run = gpu.deploy(**state)
    found = wrong(run)
    assert len(found) == 1, found
    assert re.search(said, found[0])
    assert gpu.host.difference(before) == {}


def test_the_stand_in_refuses_what_it_does_not_know(gpu: Gpu) -> None:
    for words in ("-q", "--query-gpu=uuid --format=csv", "--query-gpu=name --format=json", ""):
        said = gpu.host.run(f"nvidia-smi {words}; echo status $?", check=False)
        assert said.rstrip().endswith("status 2"), said
