"""What stands in the way of a GPU host, for machines that are not here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from homeport import gpu_checks
from homeport.facts.gpu import GpuHostFact
from homeport.gpu_checks import Gpu, GpuHost, Process
from homeport.gpu_settings import GpuSettings
from homeport.settings import HostData, of

NOW = 1_800_000_000

H200, H100 = Gpu("NVIDIA H200", 143_771 << 20, "580.95.05"), Gpu("NVIDIA H100", 81_559 << 20, "580")

#: A machine as it has to be.
HEALTHY = GpuHost(
    os="ubuntu 24.04",
    arch="x86_64",
    root=True,
    systemd=True,
    memory=2 << 40,
    shm=1 << 40,
    time=NOW,
    resolves={"glm-host": ("10.0.0.8",)},
    account=None,
    on_bus=8,
    smi=True,
    smi_error=None,
    gpus=(H200,) * 8,
    fabric=("Completed, Success",) * 8,
    processes=(),
)


def settings(route: dict[str, Any] | None = None, **values: Any) -> GpuSettings:
    glm = {"model": "glm-5.2-fp8", "host": "glm-host", "port": 8000, "open_to_network": True}
    data = {"routes": {"claude-glm": {**glm, **(route or {})}}, "serve": ["claude-glm"], **values}
    found = of(HostData("glm-host", ("gpu_hosts",), {"homeport_dir": "/srv/homeport", **data})).gpu
    assert found
    return found


def problems(found: GpuHost, gpu: GpuSettings | None = None) -> list[str]:
    return gpu_checks.problems(gpu or settings(), found, "homeport", False, NOW)


def test_eight_h200_are_fit() -> None:
    assert problems(HEALTHY) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"root": False}, "Set _sudo = True in group_data/gpu_hosts.py, or log in as root"),
        ({"os": "fedora 44"}, "it runs fedora 44, and a GPU host is Debian or Ubuntu"),
        ({"arch": "aarch64"}, "its processor is aarch64, and the engine's lock file is for x86_64"),
        ({"systemd": False}, "systemd is not at work on it, as in a container"),
        ({"memory": 32 << 30}, "it has 34.4 GB of memory, and the server of claude-glm needs 68.0"),
        ({"shm": 64 << 20}, "its /dev/shm has 0.1 GB, and 8 GPUs talk through 10.0 GB of it"),
        ({"account": 1000}, "the user homeport is there already (number 1000)"),
        ({"time": NOW - 600}, "its clock is 600 s behind. Type: timedatectl set-ntp true"),
        ({"time": NOW + 600}, "its clock is 600 s ahead"),
        ({"resolves": {"glm-host": ()}}, "glm-host, by which clients are to reach claude-glm, has"),
        ({"smi": False, "gpus": ()}, "there is no nvidia-smi on it. Install the driver and reboot"),
        (
            {"smi_error": "Failed to initialize NVML: Driver/library version mismatch", "gpus": ()},
            "its NVIDIA driver was upgraded and the old one still runs. Type: sudo reboot",
        ),
        (
            {
                "smi_error": "Unable to determine the device handle for GPU2: GPU is lost",
                "gpus": (),
            },
            "a GPU is lost: nvidia-smi says 'Unable to determine",
        ),
        ({"smi_error": "No devices were found", "gpus": ()}, "nvidia-smi fails: 'No devices"),
        ({"gpus": (H200,) * 7}, "the PCI bus has 8 GPUs and the driver 7: one is lost"),
        (
            {"gpus": (H200,) * 7, "on_bus": 7},
            "split over 8 of its GPUs (tensor_parallel_size 8), and it has 7. Set "
            "tensor_parallel_size in `serving`, to one of 1",
        ),
        ({"gpus": (H200,) * 7 + (H100,)}, "its GPUs are not alike (NVIDIA H100, NVIDIA H200)"),
        (
            {"gpus": (replace(H200, driver="550.54.15"),) * 8},
            "its NVIDIA driver is 550.54.15, and vllm 0.32.0 is built for CUDA 13, which needs",
        ),
        (
            {"gpus": (H100,) * 8},
            "GLM 5.2 with 262,144 tokens needs 893.0 GB of GPU memory, and 8 x NVIDIA H100 give "
            "615.7 GB (90% of 85.5 GB each). What fits: 2 hosts like this together (nodes = 2), "
            "or 8 x H200 (141 GB)",
        ),
        ({"fabric": ("In Progress, N/A",) * 8}, "NVSwitch is not ready (In Progress, N/A)"),
        (
            {"processes": (Process(4711, "python", 10 << 30),)},
            "process 4711 (python) has 10.7 GB on its GPUs. End that",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(change: dict[str, Any], said: str) -> None:
    found = problems(replace(HEALTHY, **change))
    assert any(said in sentence for sentence in found), found


def test_all_that_is_wrong_is_said_at_once() -> None:
    bad = replace(HEALTHY, memory=1 << 30, time=NOW - 600, fabric=("In Progress, N/A",))
    assert len(problems(bad)) == 3


def test_cards_without_nvswitch_need_no_fabric() -> None:
    assert problems(replace(HEALTHY, fabric=("[N/A], [N/A]",) * 8)) == []


def test_a_context_beyond_the_memory() -> None:
    gpu = settings(route={"context": 1_000_000})
    found = problems(HEALTHY, gpu)
    assert len(found) == 1
    assert "GLM 5.2 with 1,000,000 tokens needs 1,260.5 GB" in found[0]
    fits = int(found[0].rpartition("A context of ")[2].removesuffix(" fits").replace(",", ""))
    assert 262_144 < fits < 1_000_000
    assert problems(HEALTHY, settings(route={"context": fits})) == []
    assert problems(HEALTHY, settings(route={"context": fits + 100})) != []


def test_sixteen_h100_in_two_hosts_are_enough() -> None:
    gpu = replace(settings(), recipe=replace(settings().recipe, pipeline_parallel_size=2))
    gpu = replace(gpu, place=replace(gpu.place, members=("10.0.0.1", "10.0.0.2")))
    assert problems(replace(HEALTHY, gpus=(H100,) * 8), gpu) == []


def test_a_build_without_gpus_asks_for_none(tmp_path: Any) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("vllm==0.32.0+cpu --hash=sha256:00\n")
    bare = replace(HEALTHY, gpus=(), smi=False, on_bus=0, fabric=(), memory=8 << 30, shm=64 << 20)
    assert problems(bare, settings(engine_lock=str(lock))) == []


def test_facts_are_read_from_what_the_host_prints() -> None:
    output = [
        "os=debian 12",
        "arch=x86_64",
        "systemd=yes",
        "uid=0",
        "memory_kib=1024",
        "shm_kib=2048",
        "time=7",
        "resolves=glm-host 10.0.0.8 fe80::1",
        "account=998",
        "pci=yes",
        "smi=yes",
        "gpu=0, NVIDIA H200, 143771, 580.95.05",
        "fabric=Completed, Success",
        "process=77, /usr/bin/python3, 1024",
    ]
    found = GpuHostFact().process(output)
    assert found == GpuHost(
        os="debian 12",
        arch="x86_64",
        root=True,
        systemd=True,
        memory=1 << 20,
        shm=2 << 20,
        time=7,
        resolves={"glm-host": ("10.0.0.8", "fe80::1")},
        account=998,
        on_bus=1,
        smi=True,
        smi_error=None,
        gpus=(H200,),
        fabric=("Completed, Success",),
        processes=(Process(77, "/usr/bin/python3", 1 << 30),),
    )
