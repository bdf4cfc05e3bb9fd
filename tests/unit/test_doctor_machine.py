"""What the doctor finds wrong with a machine: its power, memory, disk and clock."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from homeport.doctor import machine as looking
from homeport.doctor.machine import Disk, memory_of_mac, power_of_mac
from homeport.doctor.machine_checks import AREA
from homeport.doctor.table import Area, Context, Subject, Unknown

from .doctoring import ROUTE, SERVICE, WANTED, Machine, names, serving

MEMINFO = "MemTotal: 16000000 kB\nMemFree: 100 kB\nMemAvailable: {} kB\nSwapTotal: {} kB\n"


#: What a workstation has whose routes are all a cluster's.
ROUTER_ONLY = replace(SERVICE, name="homeport.router", alias="router", engine="router")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(tmp_path)
    found.file("/proc/meminfo", MEMINFO.format(8_000_000, 0))
    supply(found, "AC", type="Mains", online="1")
    supply(found, "BAT0", type="Battery", status="Charging", capacity="80")
    return found


def supply(machine: Machine, name: str, **values: str) -> None:
    for key, value in values.items():
        machine.file(f"/sys/class/power_supply/{name}/{key}", f"{value}\n")


def with_(**change: Any) -> Area[Any]:
    """The area, with a look that finds what `change` says."""

    def look(context: Context) -> list[Subject[looking.Machine]]:
        return [replace(one, seen=replace(one.seen, **change)) for one in looking.look(context)]

    return replace(AREA, look=look)


def test_a_healthy_machine(machine: Machine) -> None:
    report = machine.look(AREA, serving(), asked_at=time.time() - 2)
    assert report.is_healthy, report


# Power


def test_on_battery(machine: Machine) -> None:
    supply(machine, "AC", online="0")
    supply(machine, "BAT0", status="Discharging", capacity="41")
    (found,) = machine.look(AREA, serving()).findings
    assert (found.check, found.warning, found.detail) == ("on-battery", True, "41 % are left")
    assert machine.look(AREA, WANTED).is_healthy, "nothing is served there"
    assert machine.look(AREA, serving(ROUTER_ONLY)).is_healthy, "its router computes nothing"
    assert machine.look(AREA, serving(replace(SERVICE, engine="vllm", gpus=8))).is_healthy
    waits = replace(SERVICE, on_battery=False)
    assert machine.look(AREA, serving(waits)).is_healthy, "it waits for mains power"


def test_a_mouse_has_a_battery_as_well(machine: Machine) -> None:
    supply(machine, "AC", online="0")
    supply(machine, "BAT0", status="Full")
    supply(machine, "mouse", type="Battery", status="Discharging", scope="Device")
    assert machine.look(AREA, serving()).is_healthy


def test_a_machine_without_a_battery(machine: Machine) -> None:
    for file in machine.root.glob("sys/class/power_supply/*/*"):
        file.unlink()
    assert machine.look(AREA, serving()).is_healthy


PROFILE = "/sys/firmware/acpi/platform_profile"
PREFERENCE = "/sys/devices/system/cpu/{}/cpufreq/energy_performance_preference"


@pytest.mark.parametrize(
    ("file", "text", "by_hand"),
    [
        (PROFILE, "low-power\n", f"echo balanced | sudo tee {PROFILE}"),
        (
            PREFERENCE.format("cpu0"),
            "power\n",
            f"echo balance_performance | sudo tee {PREFERENCE.format('*')}",
        ),
    ],
)
def test_low_power_mode(machine: Machine, file: str, text: str, by_hand: str) -> None:
    machine.file(file, text)
    (found,) = machine.look(AREA, serving()).findings
    assert (found.check, found.fix) == ("low-power-mode", by_hand)
    machine.program("powerprofilesctl", "exit 0")
    assert machine.look(AREA, serving()).findings[0].fix == "powerprofilesctl set balanced"
    machine.program("tlp", "exit 0")
    assert machine.look(AREA, serving()).findings[0].fix == "sudo tlp ac"
    assert machine.look(AREA, serving(ROUTER_ONLY)).is_healthy


def test_both_places_that_say_low_power(machine: Machine) -> None:
    machine.file(PROFILE, "low-power\n")
    machine.file(PREFERENCE.format("cpu0"), "power\n")
    (found,) = machine.look(AREA, serving()).findings
    assert found.fix.split("; ") == [
        f"echo balanced | sudo tee {PROFILE}",
        f"echo balance_performance | sudo tee {PREFERENCE.format('*')}",
    ]


def test_other_powers(machine: Machine) -> None:
    machine.file(PROFILE, "balanced\n")
    machine.file(PREFERENCE.format("cpu0"), "balance_power\n")
    assert machine.look(AREA, serving()).is_healthy


BATTERY = """Now drawing from 'Battery Power'
 -InternalBattery-0 (id=22151267)\t73%; discharging; 4:31 remaining present: true
"""
MAINS = """Now drawing from 'AC Power'
 -InternalBattery-0 (id=22151267)\t100%; charged; 0:00 remaining present: true
"""
DESKTOP = "Now drawing from 'AC Power'\n"
SETTINGS = "Currently in use:\n standby              1\n lowpowermode         {}\n sleep   1\n"


@pytest.mark.parametrize(
    ("drawn", "settings", "battery", "left", "saving"),
    [
        (BATTERY, SETTINGS.format(1), True, 73, "sudo pmset -a lowpowermode 0"),
        (MAINS, SETTINGS.format(0), False, 100, ""),
        (DESKTOP, "Currently in use:\n sleep   1\n", False, None, ""),
        (MAINS, "Currently in use:\n powermode            1\n", False, 100,
         "sudo pmset -a powermode 0"),
        (MAINS, "Currently in use:\n powermode            2\n", False, 100, ""),
    ],
)  # fmt: skip
def test_what_pmset_says(
    drawn: str, settings: str, battery: bool, left: int | None, saving: str
) -> None:
    assert power_of_mac(drawn, settings) == looking.Power(battery, left, saving)


# Memory


def test_memory_that_is_nearly_gone(machine: Machine) -> None:
    machine.file("/proc/meminfo", MEMINFO.format(300_000, 0))
    (found,) = machine.look(AREA, serving()).findings
    assert found.check == "memory-gone"
    assert found.symptom.startswith("307 MB of 16.4 GB of memory are left: ")
    assert machine.look(AREA, WANTED).is_healthy
    assert machine.look(AREA, serving(ROUTER_ONLY)).is_healthy
    gpus = serving(replace(SERVICE, engine="vllm", gpus=8))
    assert names(machine.look(with_(disk=ROOMY), gpus)) == ["memory-gone"]


class Swapping:
    """A /proc/vmstat that has swapped so many pages more at each look."""

    def __init__(self, machine: Machine, pages: int) -> None:
        self.machine, self.pages, self.total = machine, pages, 5_000_000

    def __call__(self, seconds: float) -> None:
        self.total += self.pages
        self.machine.file("/proc/vmstat", f"pgpgin 5\npswpin {self.total}\npswpout 70\n")


@pytest.mark.parametrize(("pages", "found"), [(0, []), (20, []), (5_000, ["swapping"])])
def test_swapping(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, pages: int, found: list[str]
) -> None:
    machine.file("/proc/meminfo", MEMINFO.format(8_000_000, 2_000_000))
    swapping = Swapping(machine, pages)
    swapping(0)
    monkeypatch.setattr(looking.time, "sleep", swapping)
    assert names(machine.look(AREA, serving())) == found
    assert machine.look(AREA, serving(ROUTER_ONLY)).is_healthy


def test_memory_that_cannot_be_read(machine: Machine) -> None:
    (machine.root / "proc/meminfo").unlink()
    report = machine.look(AREA, serving())
    (missed,) = report.unchecked
    assert missed.checks == ("memory-gone", "swapping")
    assert not report.is_healthy


VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               62351.
Pages active:                            415200.
Swapins:                                 {}.
Swapouts:                                {}.
"""


def test_what_vm_stat_says() -> None:
    found = memory_of_mac(
        "17179869184\n42\n", VM_STAT.format(100, 50), VM_STAT.format(164, 50), 0.5
    )
    assert found == looking.Memory(17_179_869_184, 17_179_869_184 * 42 // 100, 64 * 16_384 / 0.5)


def test_a_mac(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(looking, "_BETWEEN", 0.01)
    battery = SETTINGS.format(1)
    machine.program("pmset", f'if [ $# = 2 ]; then echo "{BATTERY}"; else echo "{battery}"; fi')
    machine.program("sysctl", "echo 17179869184; echo 2")
    machine.program("vm_stat", f'echo "{VM_STAT.format(1, 1)}"')
    machine.program("timedatectl", "exit 1")
    report = machine.look(AREA, serving(), asked_at=time.time() + 400)
    assert names(report) == ["memory-gone", "clock-off", "on-battery", "low-power-mode"]
    fixes = {one.check: one.fix for one in report.findings}
    assert fixes["clock-off"] == "sudo sntp -sS time.apple.com"
    assert fixes["low-power-mode"] == "sudo pmset -a lowpowermode 0"
    assert report.unchecked == ()


# Disk

ROOMY = Disk("/home/anna/.homeport", 90_000_000_000, None, False)


@pytest.mark.parametrize(
    ("disk", "found"),
    [
        (Disk("/home/anna/.homeport", 50_000_000, 10_000, False), ["disk-full"]),
        (Disk("/home/anna/.homeport", 600_000_000, 10_000, False), ["disk-filling"]),
        (Disk("/home/anna/.homeport", 3_000_000_000, 10_000, False), []),
        (Disk("/home/anna/.homeport", 3_000_000_000, 12, False), ["disk-full-of-files"]),
        (Disk("/home/anna/.homeport", 3_000_000_000, None, False), []),
        (Disk("/home/anna/.homeport", 0, None, True), ["disk-read-only"]),
    ],
)
def test_disks(machine: Machine, disk: Disk, found: list[str]) -> None:
    report = machine.look(with_(disk=disk), WANTED)
    assert names(report) == found
    assert all("/home/anna/.homeport" in one.symptom + one.fix for one in report.findings)


def test_a_mac_counts_files_in_another_way(machine: Machine) -> None:
    disk = Disk("/home/anna/.homeport", 3_000_000_000, 12, False)
    fixes = [
        machine.look(with_(disk=disk, darwin=darwin), WANTED).findings[0].fix
        for darwin in (False, True)
    ]
    assert fixes == [
        "remove what has many: du --inodes -xd1 /home/anna/.homeport | sort -n",
        "remove what has many: find -x /home/anna/.homeport | sed 's|/[^/]*$||' | sort | uniq -c "
        "| sort -n | tail -5",
    ]


def test_a_gpu_host_needs_more_room(machine: Machine) -> None:
    disk = Disk("/var/lib/homeport", 20_000_000_000, None, False)
    wanted = serving(replace(SERVICE, gpus=8))
    assert names(machine.look(with_(disk=disk), wanted)) == ["disk-filling"]


def test_a_directory_that_cannot_be_looked_at(machine: Machine) -> None:
    wanted = replace(WANTED, directory="/srv/gone")
    (missed,) = machine.look(AREA, wanted).unchecked
    assert missed.why == "/srv/gone cannot be looked at: No such file or directory"
    assert "disk-full" in missed.checks


# The clock


@pytest.mark.parametrize(
    ("ahead", "said"),
    [(0, None), (100, None), (170, None), (-100, None), (300, "300 s ahead"), (-150, "150 s beh")],
)
def test_a_clock_that_is_off(machine: Machine, ahead: float, said: str | None) -> None:
    findings = machine.look(AREA, WANTED, asked_at=time.time() - ahead).findings
    assert [one.check for one in findings] == (["clock-off"] if said else [])
    assert not said or said in findings[0].symptom


@pytest.mark.parametrize(
    ("says", "found", "missed"),
    [
        ("echo NTP=no; echo NTPSynchronized=no", ["clock-not-set"], False),
        ("echo NTP=yes; echo NTPSynchronized=no", [], False),
        ("echo NTP=no; echo NTPSynchronized=yes", [], False),
        ("echo Failed to connect to bus >&2; exit 1", [], True),
        ("echo what", [], True),
    ],
)
def test_a_clock_that_nothing_sets(
    machine: Machine, says: str, found: list[str], missed: bool
) -> None:
    machine.program("timedatectl", says)
    report = machine.look(AREA, WANTED)
    assert names(report) == found
    assert [one.checks for one in report.unchecked] == [("clock-not-set",)] * missed


@pytest.mark.parametrize("mark", ["/run/systemd/container", "/.dockerenv"])
def test_a_container_has_no_clock_of_its_own(machine: Machine, mark: str) -> None:
    machine.program("timedatectl", "exit 1")
    machine.file(mark, "")
    assert machine.look(AREA, WANTED).is_healthy
    (found,) = machine.look(AREA, WANTED, asked_at=0.0).findings
    assert found.fix == "set the clock of the machine that this container runs on"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("/var/run/secrets/kubernetes.io/serviceaccount/namespace", "default"),
        ("/proc/1/environ", "PATH=/bin\0KUBERNETES_SERVICE_HOST=10.0.0.1\0"),
        ("/proc/1/environ", "container=oci\0"),
        ("/proc/1/cgroup", "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-1.scope\n"),
        ("/etc/hosts", "# Kubernetes-managed hosts file.\n127.0.0.1 localhost\n"),
    ],
)
def test_a_pod_has_no_clock_of_its_own(machine: Machine, file: str, text: str) -> None:
    (machine.root / "usr/bin/timedatectl").write_text("#!/bin/sh\nexit 1\n")
    assert not machine.look(AREA, WANTED).is_healthy
    machine.file(file, text)
    assert machine.look(AREA, WANTED).is_healthy


def test_a_pods_shell(machine: Machine) -> None:
    machine.program("timedatectl", "exit 1")
    inside = {"HOME": WANTED.home, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    assert machine.look(AREA, WANTED, variables=inside).is_healthy


def test_a_host_of_containers_has_a_clock(machine: Machine) -> None:
    machine.program("timedatectl", "echo NTP=no; echo NTPSynchronized=no")
    machine.file("/proc/1/cgroup", "0::/init.scope\n")
    machine.file("/proc/1/environ", "HOME=/\0TERM=linux\0")
    machine.file("/etc/hosts", "127.0.0.1 localhost\n")
    assert names(machine.look(AREA, WANTED)) == ["clock-not-set"]


# Certificates


def certificate(days: int) -> str:
    """A certificate that ends in so many days."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2024, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime.now(UTC) + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("days", "found"),
    [
        ((400,), []),
        ((9_000,), []),  # after 2050, when the time is written in another way
        ((10,), ["certificate-file-expiring"]),
        ((-10,), ["certificate-file-expired"]),
        ((-10, 400), []),  # the old one beside the new one
    ],
)
def test_certificates(machine: Machine, days: tuple[int, ...], found: list[str]) -> None:
    file = "/home/anna/.homeport/routes/claude-glm.pem"
    machine.file(file, "\n".join(certificate(each) for each in days))
    route = replace(ROUTE, ca=file)
    report = machine.look(AREA, replace(WANTED, routes=(route, ROUTE)))
    assert names(report) == found
    assert all(one.detail == file for one in report.findings)


@pytest.mark.parametrize(
    "text", ["", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"]
)
def test_a_file_without_a_certificate(machine: Machine, text: str) -> None:
    file = "/home/anna/.homeport/routes/claude-glm.pem"
    machine.file(file, text)
    (missed,) = machine.look(AREA, replace(WANTED, routes=(replace(ROUTE, ca=file),))).unchecked
    assert missed.why == f"{file} has no certificate in it that can be read"


def test_nothing_is_written(machine: Machine) -> None:
    before = {path: path.stat().st_mtime_ns for path in machine.root.rglob("*")}
    machine.look(AREA, serving(), asked_at=time.time())
    assert {path: path.stat().st_mtime_ns for path in machine.root.rglob("*")} == before


def test_this_machine_is_looked_at_in_less_than_a_second() -> None:
    wanted = replace(serving(), directory=os.environ["HOME"])
    taken: list[float] = []
    while len(taken) < 10 and min(taken, default=9) >= 1:  # other tests run beside this one
        started = time.monotonic()
        (subject,) = looking.look(Context(wanted, os.environ, Path("/")))
        taken.append(time.monotonic() - started)
    assert min(taken) < 2
    assert not isinstance(subject.seen.memory, Unknown)
