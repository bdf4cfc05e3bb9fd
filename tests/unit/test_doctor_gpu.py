"""What the doctor finds wrong with GPUs, by the lab's stand-in for nvidia-smi."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeport.doctor.gpu_checks import AREA
from homeport.doctor.table import Report
from homeport.doctor.wanted import SYSTEM, VLLM

from .doctoring import SERVICE, Machine, names, serving

STAND_IN = Path(__file__).parent.parent / "lab" / "nvidia_smi.py"

HEALTHY: dict[str, Any] = {"temperature.gpu": 44, "fabric.state": "Completed"}

GLM = replace(SERVICE, name="homeport.claude-glm", alias="claude-glm", engine=VLLM, gpus=8)
WANTED = serving(GLM, manager=SYSTEM, directory="/var/lib/homeport")

BUS = "0000:1b:00"


class Host(Machine):
    def __post_init__(self) -> None:
        state = self.root / "state.json"
        self.program(
            "nvidia-smi", f"exec '{sys.executable}' -IS '{STAND_IN}' --state '{state}' \"$@\""
        )
        self.log([])
        self.says(gpus=[HEALTHY] * 8)

    def says(self, **state: Any) -> None:
        (self.root / "state.json").write_text(json.dumps(state))

    def log(self, lines: list[str], status: int = 0, hidden: bool = False) -> None:
        """What journalctl finds in the kernel's log."""
        self.file("/log", "".join(f"{line}\n" for line in lines))
        hint = "echo Hint: You are currently not seeing messages from other users >&2;"
        self.program("journalctl", f"{hint * hidden} cat '{self.root}/log'; exit {status}")
        self.program("dmesg", "echo dmesg: read kernel buffer failed >&2; exit 1")

    def examined(self) -> Report:
        return self.look(AREA, WANTED)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_eight_healthy_gpus(host: Host) -> None:
    report = host.examined()
    assert report.is_healthy, report


def test_a_machine_that_serves_on_none(host: Host) -> None:
    (host.root / "usr/bin/nvidia-smi").unlink()
    assert host.look(AREA, serving()).is_healthy


@pytest.mark.parametrize(
    ("error", "check"),
    [
        ("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95",
         "driver-mismatch"),
        ("Unable to determine the device handle for GPU0000:1B:00.0: GPU is lost. Reboot the "
         "system to recover this GPU", "gpu-lost"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure "
         "that the latest NVIDIA driver is installed and running.", "driver-not-loaded"),
        ("No devices were found", "driver-not-loaded"),
        ("Failed to initialize NVML: Unknown Error", "nvidia-smi-fails"),
    ],
)  # fmt: skip
def test_an_nvidia_smi_that_fails(host: Host, error: str, check: str) -> None:
    host.says(error=error)
    report = host.examined()
    assert names(report) == [check]
    # What could not be looked at has not passed.
    (missed,) = report.unchecked
    assert missed.why.startswith("nvidia-smi fails: ")
    assert {"too-few-gpus", "gpu-hot", "nvswitch-not-ready"} <= set(missed.checks)
    assert "xid-of-hardware" not in missed.checks


def test_no_nvidia_smi(host: Host) -> None:
    (host.root / "usr/bin/nvidia-smi").unlink()
    report = host.examined()
    assert names(report) == ["no-driver"]
    assert report.unchecked[0].why == "there is no nvidia-smi"


def test_an_nvidia_smi_that_hangs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.program("nvidia-smi", "exec sleep 60")
    monkeypatch.setattr("homeport.doctor.commands.PATIENCE", 0.2)
    started = time.monotonic()
    report = host.examined()
    assert time.monotonic() - started < 30, "it would hang for a minute"
    assert names(report) == ["nvidia-smi-fails"]
    assert "says nothing for" in report.findings[0].detail


@pytest.mark.parametrize(
    ("change", "check", "detail"),
    [
        ({"clocks_throttle_reasons.hw_thermal_slowdown": "Active", "temperature.gpu": 91},
         "gpu-hot", "GPU 0 (91 C)"),
        ({"clocks_throttle_reasons.sw_thermal_slowdown": "Active"}, "gpu-hot", "GPU 0 (44 C)"),
        ({"clocks_throttle_reasons.hw_power_brake_slowdown": "Active"}, "gpu-power-brake",
         "GPU 0 (44 C)"),
        ({"ecc.errors.uncorrected.volatile.total": 3}, "gpu-memory-errors",
         "3 since the driver was loaded"),
        ({"retired_pages.pending": "Yes"}, "gpu-memory-to-be-replaced", "GPU 0"),
        ({"remapped_rows.pending": 1, "gpu_bus_id": BUS}, "gpu-memory-to-be-replaced", BUS),
        ({"remapped_rows.pending": "Yes", "gpu_bus_id": BUS}, "gpu-memory-to-be-replaced", BUS),
        ({"temperature.gpu": "[GPU is lost]"}, "gpu-lost", "GPU 0: GPU is lost"),
        ({"temperature.gpu": "[GPU requires reset]"}, "gpu-lost", "GPU 0: GPU requires reset"),
        ({"remapped_rows.failure": 1, "gpu_bus_id": BUS}, "gpu-memory-broken", BUS),
        ({"fabric.state": "In Progress", "fabric.status": "N/A"}, "nvswitch-not-ready",
         "In Progress, N/A"),
    ],
)  # fmt: skip
def test_one_gpu_of_eight(host: Host, change: dict[str, Any], check: str, detail: str) -> None:
    host.says(gpus=[{**HEALTHY, **change}, *[HEALTHY] * 7])
    (found,) = host.examined().findings
    assert (found.check, found.detail) == (check, detail)


def test_which_gpu_is_to_be_reset(host: Host) -> None:
    host.says(gpus=[*[HEALTHY] * 3, {**HEALTHY, "ecc.errors.uncorrected.volatile.total": 1}])
    fixes = {one.check: one.fix for one in host.examined().findings}
    assert "sudo nvidia-smi --gpu-reset -i 3; or: sudo reboot" in fixes["gpu-memory-errors"]


def test_too_few(host: Host) -> None:
    host.says(gpus=[HEALTHY] * 7)
    (found,) = host.examined().findings
    assert found.symptom == "the model is split over 8 GPUs, and there are 7"


def test_one_that_the_bus_has_and_the_driver_lost(host: Host) -> None:
    for number in range(8):
        host.file(f"/sys/bus/pci/devices/0000:{number}/vendor", "0x10de\n")
        host.file(f"/sys/bus/pci/devices/0000:{number}/class", "0x030200\n")
    host.file("/sys/bus/pci/devices/0000:9/vendor", "0x10de\n")
    host.file("/sys/bus/pci/devices/0000:9/class", "0x068000\n")  # an NVSwitch
    assert host.examined().is_healthy
    host.says(gpus=[HEALTHY] * 7)
    (found,) = host.examined().findings
    assert (found.check, found.detail) == ("gpu-lost", "the bus has 8, the driver 7")


def test_drivers_of_other_years(host: Host) -> None:
    """One that knows the clocks' reasons by the new name only, and one that knows less."""
    reasons = [f"clocks_throttle_reasons.{one}_slowdown"
               for one in ("hw_thermal", "sw_thermal", "hw_power_brake")]  # fmt: skip
    hot = {**HEALTHY, "clocks_event_reasons.hw_thermal_slowdown": "Active"}
    host.says(gpus=[hot] * 8, refuses=reasons)
    assert names(host.examined()) == ["gpu-hot"]
    host.says(gpus=[HEALTHY] * 8, refuses=["fabric.state", "remapped_rows.pending"])
    assert host.examined().is_healthy


def test_a_gpu_that_counts_no_errors(host: Host) -> None:
    less = {"ecc.errors.uncorrected.volatile.total": "[N/A]", "retired_pages.pending": "[N/A]",
            "remapped_rows.pending": "[N/A]", "remapped_rows.failure": "[N/A]",
            "fabric.state": "[N/A]", "fabric.status": "[N/A]"}  # fmt: skip
    host.says(gpus=[{**HEALTHY, **less}] * 8)
    assert host.examined().is_healthy


def test_a_process_of_somebody_else(host: Host) -> None:
    own, others = ({"pid": pid, "process_name": "/usr/bin/python3", "used_memory": 900}
                   for pid in (4710, 4711))  # fmt: skip
    host.file("/proc/4710/cgroup", "0::/system.slice/homeport.claude-glm.service\n")
    host.file("/proc/4711/cgroup", "0::/user.slice/user-1000.slice\n")
    ended = {**own, "pid": 4712}
    host.says(gpus=[HEALTHY] * 8, processes=[own, others, ended])
    (found,) = host.examined().findings
    assert (found.check, found.detail) == ("somebody-else-process", "/usr/bin/python3, 900 MiB")
    assert "4711" in found.symptom


def test_a_model_that_takes_half_of_the_gpus(host: Host) -> None:
    own, others = ({"pid": pid, "process_name": "python3", "used_memory": 900}
                   for pid in (4710, 4711))  # fmt: skip
    host.file("/proc/4710/cgroup", "0::/system.slice/homeport.claude-glm.service\n")
    host.file("/proc/4711/cgroup", "0::/user.slice/user-1000.slice\n")
    ours = [{**own, "gpu_uuid": f"GPU-{number}"} for number in range(8)]
    theirs = [{**others, "gpu_uuid": f"GPU-{number}"} for number in range(8, 16)]
    host.says(gpus=[HEALTHY] * 16, processes=ours)
    assert host.examined().is_healthy
    host.says(gpus=[HEALTHY] * 16, processes=[*ours, *theirs])
    assert host.examined().is_healthy, "the other half is theirs"
    host.says(gpus=[HEALTHY] * 16, processes=[*ours, {**others, "gpu_uuid": "GPU-3"}])
    assert names(host.examined()) == ["somebody-else-process"]
    # While the server does not run, nobody knows which it takes.
    host.says(gpus=[HEALTHY] * 16, processes=theirs)
    (missed,) = host.examined().unchecked
    assert missed.checks == ("somebody-else-process",)
    host.says(gpus=[HEALTHY] * 16)
    assert host.examined().is_healthy


def xid(number: int, ago: float = 60, said: str = "pid='<unknown>', name=<unknown>") -> str:
    at = time.time() - ago
    return f"{at:.6f} gpu kernel: NVRM: Xid (PCI:{BUS}): {number}, {said}"


@pytest.mark.parametrize("number", [48, 64, 79, 95, 119, 120])
def test_xids_of_the_hardware(host: Host, number: int) -> None:
    host.log([xid(number, ago=500_000), xid(number, said="GPU has fallen off the bus.")])
    (found,) = host.examined().findings
    assert (found.check, found.warning) == ("xid-of-hardware", False)
    assert found.cause.startswith(f"Xid {number}: ")
    assert found.detail == f"2 of {BUS}, the last: GPU has fallen off the bus."


@pytest.mark.parametrize("number", [13, 31, 109])
def test_xids_of_programs(host: Host, number: int) -> None:
    host.log([xid(number)])
    (found,) = host.examined().findings
    assert (found.check, found.warning) == ("xid-of-a-program", True)
    host.log([xid(number, ago=200_000)])
    assert host.examined().is_healthy, "it was days ago"


@pytest.mark.parametrize("number", [43, 45, 63, 94])
def test_xids_of_what_may_be_over(host: Host, number: int) -> None:
    """A server that was stopped, and a bad row that a reset has replaced since."""
    host.log([xid(number)])
    report = host.examined()
    assert report.is_healthy, report
    host.says(gpus=[{**HEALTHY, "remapped_rows.pending": 1, "gpu_bus_id": BUS}, *[HEALTHY] * 7])
    assert names(host.examined()) == ["gpu-memory-to-be-replaced"]


def test_the_same_xid_has_the_same_cause_on_every_machine(host: Host) -> None:
    causes = set()
    for said in ("GPU has fallen off the bus.", "pid=7, something else"):
        host.log([xid(79, said=said)])
        causes.add(host.examined().findings[0].cause)
    assert len(causes) == 1


def test_a_log_without_any(host: Host) -> None:
    host.log(["-- No entries --"], status=1)
    assert host.examined().is_healthy


def test_a_log_that_may_not_be_read(host: Host) -> None:
    host.log([], status=1, hidden=True)
    (missed,) = host.examined().unchecked
    assert missed.checks == ("xid-of-hardware", "xid-of-a-program")
    host.program("dmesg", f"echo '[ 77.1] NVRM: Xid (PCI:{BUS}): 79, GPU has fallen off the bus.'")
    assert names(host.examined()) == ["xid-of-hardware"]
