"""A laptop that is broken in one way after the other, and what its doctor finds: in this order.

Not to be had here, as a lab host sees the kernel of the machine below: a battery, memory that runs
out, swapping (tests/unit/test_doctor_machine.py has them). GPUs are those of a stand-in, and the
kernel's log is one as well.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from homeport.doctor import client, gpu_checks, machine_checks, weights
from homeport.doctor.table import Finding, Report

from ..certificates import authority
from ..hub import Hub, Trickle
from ..running import wait_until
from .lab import Lab
from .weights import GGUF, PULLED, REPO, gguf, hub_on, pin

DIRECTORY = "/home/anna/.homeport"
FOLDER = f"{DIRECTORY}/weights/{REPO}"
FILE = f"{FOLDER}/current/{GGUF}"

#: What this file is about; other areas have files of their own.
NAMES = {
    check.name
    for checks in (machine_checks.CHECKS, gpu_checks.CHECKS, weights.CHECKS, client.CHECKS)
    for check in checks
}

AREAS = [gpu_checks.AREA.name, weights.AREA.name, client.AREA.name, machine_checks.AREA.name]

#: Asks as the fleet's doctor does, of what a test says that the machine should be; only the areas
#: that this file is about, as the others take their time with the server.
_ASK = f"""
import json, sys
sys.path.insert(0, {f"{DIRECTORY}/lib/doctor.pyz"!r})
import homeport.doctor.__main__ as doctor
every = doctor.areas
doctor.areas = lambda wanted: [area for area in every(wanted) if area.name in {AREAS}]
doctor.answer(json.load(sys.stdin))
"""


class Laptop:
    """A laptop that serves what it pulled from a Hub."""

    def __init__(self, lab: Lab, hub: Hub) -> None:
        self.lab, self.hub, self.host = lab, hub, lab.host("laptop", disk="2500M")
        hub.commit(REPO, {GGUF: gguf()})
        assert pin(lab).status == 0
        self.inventory = lab.inventory({"laptops": [self.host]}, routes=PULLED)
        run = lab.deploy(self.inventory)
        assert run.status == 0, run.output

    def doctor(self, *options: str) -> Report:
        """What `homeport-doctor` says, typed by anna."""
        command = " ".join([f"{DIRECTORY}/bin/homeport-doctor --json", *options])
        return Report.of(json.loads(self.host.run(command, user="anna", check=False)))

    def asked(
        self, deep: bool = False, asked_at: float | None = None, **change: Any
    ) -> list[Finding]:
        """The findings where it should be otherwise than it is deployed, by `change`."""
        wanted = json.loads(self.host.file(f"{DIRECTORY}/state/doctor.json").read_text())["wanted"]
        question = {"wanted": {**wanted, **change}, "deep": deep, "asked_at": asked_at}
        self.host.file("/var/question").write_text(json.dumps(question))
        self.host.file("/var/ask.py").write_text(_ASK)
        said = self.anna("python3 /var/ask.py < /var/question")
        return list(Report.of(json.loads(said)).findings)

    def found(self, deep: bool = False) -> list[Finding]:
        return self.asked(deep)

    @property
    def services(self) -> list[dict[str, Any]]:
        file = self.host.file(f"{DIRECTORY}/state/doctor.json")
        services: list[dict[str, Any]] = json.loads(file.read_text())["wanted"]["services"]
        return services

    def fleet(self) -> list[Finding]:
        """What doctor.py finds, with what is pinned by now."""
        run = self.lab.deploy(self.inventory, "--json", script="doctor.py")
        # Beside it is what pyinfra says of its way, which goes to another stream.
        found, _ = json.JSONDecoder().raw_decode(run.output, run.output.index("\n{") + 1)
        report = Report.of(found["hosts"]["laptop"])
        return [one for one in report.findings if one.check in NAMES]

    def anna(self, command: str) -> str:
        return self.host.run(command, user="anna")


@pytest.fixture(scope="module")
def hub(lab: Lab) -> Iterator[Hub]:
    with hub_on(lab) as hub:
        yield hub


@pytest.fixture(scope="module")
def laptop(lab: Lab, hub: Hub) -> Laptop:
    return Laptop(lab, hub)


def test_nothing_is_wrong_after_a_deploy(laptop: Laptop) -> None:
    before = laptop.host.tree()
    for options in ((), ("--deep",)):
        report = laptop.doctor(*options)
        assert [one for one in report.findings if one.check in NAMES] == []
        assert [one for one in report.unchecked if NAMES & set(one.checks)] == []
    assert laptop.fleet() == []
    revision = str(laptop.host.file(f"{FOLDER}/current").readlink())
    assert report.facts["claude-fable5"]["weights"] == revision[:12]
    assert laptop.host.difference(before) == {}


# The machine


@pytest.mark.parametrize(
    ("leave", "check"), [(20_000_000, "disk-full"), (500_000_000, "disk-filling")]
)
def test_a_disk_that_fills_up(laptop: Laptop, leave: int, check: str) -> None:
    laptop.host.fill_disk(leave)
    findings = [one for one in laptop.doctor().findings if one.check in NAMES]
    laptop.host.free_disk()
    (found,) = findings
    assert found.check == check
    assert found.fix == f"make room. See what takes it: du -xhd1 {DIRECTORY} | sort -h"
    assert "weights" in laptop.anna(found.fix.partition(": ")[2])
    assert laptop.found() == []


def test_a_disk_that_takes_no_more_files(laptop: Laptop) -> None:
    laptop.host.run("mkdir /mnt/small && mount -t tmpfs -o nr_inodes=20,size=1500M x /mnt/small")
    found = laptop.asked(directory="/mnt/small")
    laptop.host.run("umount /mnt/small")
    assert [one.check for one in found] == ["disk-full-of-files"]
    assert "du --inodes -xd1 /mnt/small" in found[0].fix


def test_a_disk_that_is_read_only(laptop: Laptop) -> None:
    laptop.host.run(f"mount --bind {DIRECTORY} {DIRECTORY}; mount -o remount,ro,bind {DIRECTORY}")
    found = laptop.found()
    laptop.host.run(f"umount {DIRECTORY}")
    assert [one.check for one in found] == ["disk-read-only"]


@pytest.mark.parametrize(("off", "word"), [(400, "behind"), (-400, "ahead")])
def test_a_clock_that_is_off(laptop: Laptop, off: int, word: str) -> None:
    (found,) = laptop.asked(asked_at=time.time() + off)
    assert found.check == "clock-off"
    seconds = re.search(rf"the clock is (\d+) s {word}", found.symptom)
    assert seconds and abs(int(seconds[1]) - 400) < 30, "the question took a moment"
    assert laptop.asked(asked_at=time.time()) == []


def test_a_certificate_that_expires(laptop: Laptop, tmp_path: Path) -> None:
    authority(tmp_path, "gpu")  # what it signed is for a day, and trusted itself
    pem, _, _ = (tmp_path / "served.pem").read_text().partition("-----BEGIN PRIVATE KEY")
    laptop.host.write(f"{DIRECTORY}/routes/gpu.pem", pem, "anna")
    route = {"alias": "claude-glm", "name": "glm", "url": "https://gpu", "context": 1,
             "max_output": 1, "file": "/gone", "token": "/gone", "command": "use-glm.sh",
             "served": False, "engine": "", "ca": f"{DIRECTORY}/routes/gpu.pem"}  # fmt: skip
    found = laptop.asked(routes=[route])
    laptop.host.file(f"{DIRECTORY}/routes/gpu.pem").unlink()
    assert [one.check for one in found] == ["certificate-file-expiring"]


# Claude Code


def claude(laptop: Laptop, path: str, version: str) -> None:
    laptop.host.write(path, f'#!/bin/sh\necho "{version} (Claude Code)"\n', "anna")
    laptop.anna(f"chmod 755 {path}")


def test_no_client(laptop: Laptop) -> None:
    assert [one.check for one in laptop.asked(client="2.1.330")] == ["no-client"]


def test_an_old_client(laptop: Laptop) -> None:
    """homeport's own comes first in a shell of anna's, whatever is there besides."""
    claude(laptop, f"{DIRECTORY}/bin/claude", "2.1.330")
    claude(laptop, "/home/anna/.local/bin/claude", "2.1.200")
    assert laptop.asked(client="2.1.330") == []
    laptop.host.file(f"{DIRECTORY}/bin/claude").unlink()
    assert [one.check for one in laptop.asked(client="2.1.330")] == ["client-too-old"]
    claude(laptop, "/home/anna/.local/bin/claude", "2.1.329")
    assert [one.check for one in laptop.asked(client="2.1.330")] == ["client-old"]
    assert laptop.found() == [], "no route here needs it"
    laptop.host.file("/home/anna/.local/bin/claude").unlink()


# Weights


@pytest.fixture
def kept(laptop: Laptop) -> Iterator[None]:
    """The file is itself again afterwards, and proven."""
    laptop.anna(f"cp -p {FILE} ~/kept")
    yield
    laptop.anna(f"cp -p ~/kept {FILE}.new && mv {FILE}.new {FILE} && rm ~/kept")
    assert laptop.found(deep=True) == []


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("break_it", "check"),
    [
        (f"rm {FILE}", "weights-missing"),
        (f"truncate -s 1000000 {FILE}", "weights-changed"),
        (f"touch {FILE}", "weights-changed"),
    ],
)
def test_a_file_that_was_changed(laptop: Laptop, break_it: str, check: str) -> None:
    laptop.anna(break_it)
    (found,) = laptop.found()
    assert (found.check, found.detail) == (check, GGUF)


@pytest.mark.usefixtures("kept")
def test_a_bit_that_turned_over(laptop: Laptop) -> None:
    """Its time is what it was, as where a disk is at fault."""
    laptop.anna(
        f"printf X | dd of={FILE} bs=1 seek=90000000 conv=notrunc 2>&1; touch -r kept {FILE}"
    )
    assert laptop.found() == []
    (found,) = laptop.found(deep=True)
    assert (found.check, found.about, found.detail) == ("weights-corrupt", "claude-fable5", GGUF)


def test_what_is_typed_then_heals_it(laptop: Laptop) -> None:
    """Its time alone would have the deploy believe it."""
    laptop.anna(f"cp -p {FILE} kept")
    laptop.anna(
        f"printf X | dd of={FILE} bs=1 seek=90000000 conv=notrunc 2>&1; touch -r kept {FILE}"
    )
    (found,) = laptop.found(deep=True)
    laptop.anna(f"rm kept; {found.fix.partition(';')[0]}")
    run = laptop.lab.deploy(laptop.inventory)
    assert run.status == 0, run.output
    assert laptop.found(deep=True) == []


def test_another_revision_under_the_link(laptop: Laptop) -> None:
    right = laptop.anna(f"readlink {FOLDER}/current").strip()
    other = "0" * 40
    laptop.anna(f"cd {FOLDER} && cp -al {right} {other} && ln -sfn {other} current")
    (found,) = laptop.found()
    assert (found.check, found.detail) == ("old-weights", f"{right[:12]} is pinned")
    assert found.symptom == f"claude-fable5 serves revision {other[:12]} of {REPO}"
    laptop.anna(f"cd {FOLDER} && ln -sfn {right} current")
    assert laptop.found() == [], "there is room for what nothing keeps"
    laptop.host.fill_disk(leave=90_000_000)
    names = [one.check for one in laptop.found()]
    laptop.host.free_disk()
    assert names == ["disk-full", "abandoned-revisions"]
    laptop.anna(f"rm -r {FOLDER}/{other}")


def test_weights_that_nothing_serves(laptop: Laptop) -> None:
    old = f"{DIRECTORY}/weights/team/old"
    laptop.host.write(f"{old}/{'0' * 40}/model.gguf", "weights", "anna")
    assert laptop.found() == []
    laptop.host.fill_disk(leave=90_000_000)
    (found,) = [one for one in laptop.found() if one.check == "abandoned-weights"]
    laptop.host.free_disk()
    laptop.anna(found.fix)
    assert not laptop.host.file(old).exists()


def test_a_pull_at_work_then_killed(laptop: Laptop) -> None:
    """A new revision is pinned, and on its way; the doctor of the fleet knows of it."""
    commit = laptop.hub.commit(REPO, {GGUF: gguf() + bytes(64)})
    assert pin(laptop.lab).status == 0
    (found,) = laptop.fleet()
    assert found.check == "old-weights"
    laptop.hub.fault(GGUF, Trickle(after=0, bytes_per_second=1_000_000), times=None)
    running = laptop.lab.start(laptop.inventory)
    part = laptop.host.file(f"{FOLDER}/{commit}/{GGUF}.homeport-part")
    wait_until(lambda: part.exists() and part.stat().st_size > 1_000_000)
    (found,) = laptop.fleet()
    assert found.check == "pull-at-work"
    assert "% are there" in found.symptom
    running.kill()
    laptop.anna("pkill -KILL -f [p]ull.py; systemctl --user stop 'homeport.pull.*'")
    (found,) = laptop.fleet()
    assert found.check == "pull-interrupted"


def test_a_pull_that_failed(laptop: Laptop) -> None:
    laptop.hub.faults.clear()
    laptop.hub.commit(REPO, {GGUF: gguf() + bytes(65)}, gated=True)
    laptop.hub.add_token("hf_good", may_see=(REPO,))
    assert pin(laptop.lab, HF_TOKEN="hf_good").status == 0
    assert laptop.lab.deploy(laptop.inventory).status == 1
    (found,) = laptop.fleet()
    assert found.check == "pull-failed"
    assert found.detail.startswith(f"{REPO} is gated. Accept its licence at {laptop.hub.url}")


# GPUs, of a stand-in

H200 = {"name": "NVIDIA H200", "temperature.gpu": 44}
XID = "kernel: NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus."


@pytest.fixture(scope="module")
def gpus(laptop: Laptop) -> Laptop:
    stand_in = (Path(__file__).parent / "nvidia_smi.py").read_text()
    laptop.host.write("/usr/local/bin/nvidia-smi", stand_in, "root")
    log = '#!/bin/sh\n[ "$1 $2" = "-k -b" ] && cat /etc/kernel.log 2>/dev/null\ntrue\n'
    laptop.host.write("/usr/local/bin/journalctl", log, "root")
    laptop.host.run("chmod 755 /usr/local/bin/nvidia-smi /usr/local/bin/journalctl")
    return laptop


def on_gpus(laptop: Laptop, **state: Any) -> list[Finding]:
    laptop.host.file("/etc/nvidia-smi.json").write_text(json.dumps(state))
    service = {**laptop.services[0], "gpus": 8, "weights": None}
    return [one for one in laptop.asked(services=[service]) if one.check != "disk-filling"]


def test_eight_healthy_gpus(gpus: Laptop) -> None:
    assert on_gpus(gpus, gpus=[H200] * 8) == []


@pytest.mark.parametrize(
    ("state", "check"),
    [
        ({"gpus": [H200] * 7}, "too-few-gpus"),
        ({"error": "Failed to initialize NVML: Driver/library version mismatch"},
         "driver-mismatch"),
        ({"error": "Unable to determine the device handle for GPU0000:1B:00.0: GPU is lost."},
         "gpu-lost"),
        ({"gpus": [{**H200, "clocks_throttle_reasons.hw_thermal_slowdown": "Active"}] * 8},
         "gpu-hot"),
        ({"gpus": [{**H200, "ecc.errors.uncorrected.volatile.total": 2}, *[H200] * 7]},
         "gpu-memory-errors"),
        ({"gpus": [{**H200, "remapped_rows.failure": 1}, *[H200] * 7]}, "gpu-memory-broken"),
        ({"gpus": [{**H200, "fabric.state": "In Progress"}] * 8}, "nvswitch-not-ready"),
        ({"gpus": [H200] * 8, "processes": [
            {"pid": 1, "process_name": "/sbin/init", "used_memory": 7}]}, "somebody-else-process"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_wrong_with_them(gpus: Laptop, state: dict[str, Any], check: str) -> None:
    assert [one.check for one in on_gpus(gpus, **state)] == [check]


def test_an_xid(gpus: Laptop) -> None:
    gpus.host.file("/etc/kernel.log").write_text(f"{time.time():.6f} gpu {XID}\n")
    (found,) = on_gpus(gpus, gpus=[H200] * 8)
    assert (found.check, found.cause) == (
        "xid-of-hardware",
        "Xid 79: the GPU has fallen off the bus",
    )
