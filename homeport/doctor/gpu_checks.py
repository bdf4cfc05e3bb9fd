"""What can be wrong with GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

from .gpu import Gpu, Gpus, Xid, look
from .table import MACHINE, REFUSED, SLOW, Area, CannotTell, Check, Values, known

_CATALOG = "NVIDIA, Xid Errors (docs.nvidia.com/deploy/xid-errors)"

#: Xids after which the GPU, or its driver, has to be reset at least.
_OF_HARDWARE = {
    48: "a double bit error of the GPU's memory, which cannot be corrected",
    62: "the GPU's own microcontroller halted",
    64: "a bad row of the GPU's memory could not be replaced",
    74: "an error of NVLink, between two GPUs",
    79: "the GPU has fallen off the bus",
    92: "many errors of the GPU's memory, which are corrected",
    95: "an error of the GPU's memory, which may have hit any program",
    119: "the GPU's system processor does not answer the driver",
    120: "the GPU's system processor has an error",
    140: "errors of the GPU's memory that it did not recover from",
}

#: Xids that a program brings about; only those of the last day count.
_OF_PROGRAMS = {
    13: "a program did what the GPU does not allow",
    31: "a program used memory of the GPU that it does not have",
}

#: Xids of what may be over: 43 and 45 of programs that ended, as any that is stopped; 63 and 94 of
#: a bad row, which has checks of its own for as long as it waits for a reset or its errors count.
_OF_NOTHING = (43, 45, 63, 94)
_DAY = 86_400

_MISMATCH, _LOST = "Driver/library version mismatch", ("GPU is lost", "device handle")
_NO_DRIVER = ("couldn't communicate with the NVIDIA driver", "No devices were found")


def _kind(error: str) -> str:
    """Which check an error of nvidia-smi's is for."""
    if _MISMATCH in error:
        return "mismatch"
    if any(part in error for part in _LOST):
        return "lost"
    return "no driver" if any(part in error for part in _NO_DRIVER) else "other"


def _no_smi(seen: Gpus) -> Iterator[Values]:
    if not seen.smi:
        yield {}


def _mismatch(seen: Gpus) -> Iterator[Values]:
    if seen.smi and seen.error and _kind(seen.error) == "mismatch":
        yield {}


def _not_loaded(seen: Gpus) -> Iterator[Values]:
    if seen.smi and seen.error and _kind(seen.error) == "no driver":
        yield {"detail": seen.error[:200]}


def _lost(seen: Gpus) -> Iterator[Values]:
    if seen.smi and seen.error and _kind(seen.error) == "lost":
        yield {"detail": seen.error[:200]}
    elif seen.smi and not seen.error and seen.on_bus > len(known(seen.gpus)):
        yield {"detail": "the bus has %d, the driver %d" % (seen.on_bus, len(known(seen.gpus)))}
    elif seen.smi and not seen.error:
        for one in known(seen.gpus):
            if one.trouble:
                yield {"detail": "GPU %s: %s" % (one.index, one.trouble.strip("[]"))}


def _fails(seen: Gpus) -> Iterator[Values]:
    if seen.smi and seen.error and _kind(seen.error) == "other":
        yield {"detail": seen.error[:200]}


def _fewer(seen: Gpus) -> Iterator[Values]:
    count = len(known(seen.gpus))
    if count < seen.wanted and seen.on_bus <= count:  # else it is lost
        yield {"wanted": str(seen.wanted), "count": str(count)}


def _fabric(seen: Gpus) -> Iterator[Values]:
    for state in known(seen.fabric):
        if not state.replace(" ", "").startswith(("Completed,Success", "[N/A]", "N/A")):
            yield {"detail": state}
            return


def _which(gpus: list[Gpu]) -> str:
    return "GPU " + ", ".join("%s (%s C)" % (one.index, one.temperature) for one in gpus)


def _hot(seen: Gpus) -> Iterator[Values]:
    if hot := [one for one in known(seen.gpus) if one.hot]:
        yield {"detail": _which(hot)}


def _braked(seen: Gpus) -> Iterator[Values]:
    if braked := [one for one in known(seen.gpus) if one.braked]:
        yield {"detail": _which(braked)}


def _errors(seen: Gpus) -> Iterator[Values]:
    for one in known(seen.gpus):
        if one.errors:
            yield {"index": one.index, "detail": "%d since the driver was loaded" % one.errors}


def _failed_rows(seen: Gpus) -> Iterator[Values]:
    if failed := [one.bus for one in known(seen.remapped) if one.failed]:
        yield {"detail": ", ".join(failed)}


def _pending_rows(seen: Gpus) -> Iterator[Values]:
    found = [one.bus for one in known(seen.remapped) if one.pending]
    found += ["GPU %s" % one.index for one in known(seen.gpus) if one.retiring]
    if found:
        yield {"detail": ", ".join(found)}


def _xids(xids: list[Xid], meaning: Optional[str] = None) -> Iterator[Values]:
    """Those of one number are one finding."""
    for number in sorted({one.number for one in xids}):
        same = [one for one in xids if one.number == number]
        where = ", ".join(sorted({one.bus for one in same}))
        last = same[-1].said
        yield {
            "number": str(number),
            "meaning": meaning or {**_OF_HARDWARE, **_OF_PROGRAMS}[number],
            "detail": "%d of %s, the last: %s" % (len(same), where, last[:160]),
        }


def _of_hardware(seen: Gpus) -> Iterator[Values]:
    yield from _xids([one for one in known(seen.xids) if one.number in _OF_HARDWARE])


def _of_programs(seen: Gpus) -> Iterator[Values]:
    new = [one for one in known(seen.xids) if one.at is None or seen.now - one.at < _DAY]
    yield from _xids([one for one in new if one.number in _OF_PROGRAMS])
    told = {*_OF_HARDWARE, *_OF_PROGRAMS, *_OF_NOTHING}
    others = [one for one in new if one.number not in told]
    yield from _xids(others, "see docs.nvidia.com/deploy/xid-errors")


def _others(seen: Gpus) -> Iterator[Values]:
    processes = known(seen.processes)
    others = [one for one in processes if not one.own]
    if others and len(known(seen.gpus)) > seen.wanted:
        ours = {one.gpu for one in processes if one.own}
        if len(ours) < seen.wanted:
            raise CannotTell("which GPUs the server takes is not seen while it does not have them")
        others = [one for one in others if one.gpu in ours]
    for one in {one.pid: one for one in others}.values():  # which may be on several GPUs
        yield {"pid": str(one.pid), "detail": "%s, %s MiB" % (one.name, one.memory)}


_RESET = "stop what serves, then: sudo nvidia-smi --gpu-reset -i {index}; or: sudo reboot"

CHECKS: tuple[Check[Gpus], ...] = (
    Check(
        "no-driver",
        REFUSED,
        symptom="the server does not start: there is no nvidia-smi",
        cause="NVIDIA's driver is not installed",
        fix="sudo apt install nvidia-driver-580-server nvidia-fabricmanager-580, then: sudo reboot",
        source="vLLM 0.32 is built for CUDA 13, which needs 580 (CUDA Toolkit release notes)",
        find=_no_smi,
    ),
    Check(
        "driver-mismatch",
        REFUSED,
        symptom="the server does not start: Driver/library version mismatch",
        cause="NVIDIA's driver was upgraded, and the old one still runs",
        fix="sudo reboot",
        source="nvidia-smi, NVML_ERROR_LIB_RM_VERSION_MISMATCH",
        find=_mismatch,
    ),
    Check(
        "driver-not-loaded",
        REFUSED,
        symptom="the server does not start: nvidia-smi finds no GPU",
        cause="NVIDIA's driver is installed and not loaded, as after a new kernel",
        fix="sudo modprobe nvidia. If that fails: dkms status; sudo reboot",
        source="nvidia-smi(1)",
        find=_not_loaded,
    ),
    Check(
        "gpu-lost",
        MACHINE,
        symptom="a GPU is lost",
        cause="the GPU answers the driver no more",
        fix="sudo reboot. Where that does not help, see: journalctl -k | grep -i xid",
        source="nvidia-smi, NVML_ERROR_GPU_IS_LOST; Xid 79",
        find=_lost,
    ),
    Check(
        "nvidia-smi-fails",
        MACHINE,
        symptom="nvidia-smi fails, or hangs",
        cause="the driver does not answer for the GPUs",
        fix="nvidia-smi; journalctl -k | grep NVRM. Where it hangs: sudo reboot",
        source="nvidia-smi(1), RETURN VALUE",
        find=_fails,
    ),
    Check(
        "too-few-gpus",
        REFUSED,
        symptom="the model is split over {wanted} GPUs, and there are {count}",
        cause="the machine has fewer GPUs than its model is deployed for",
        fix="put the others in, or set tensor_parallel_size in `serving` of "
        "group_data/gpu_hosts.py and run the deploy again",
        source="what was deployed; nvidia-smi",
        find=_fewer,
    ),
    Check(
        "nvswitch-not-ready",
        REFUSED,
        symptom="the server hangs or fails where it starts: the GPUs do not reach each other",
        cause="NVSwitch's fabric manager has not made the GPUs ready",
        fix="sudo systemctl enable --now nvidia-fabricmanager (its version has to be the driver's)",
        source="nvidia-smi, fabric.state and fabric.status",
        find=_fabric,
    ),
    Check(
        "gpu-memory-errors",
        MACHINE,
        symptom="the server ends with ECC errors, or the GPU's Xids say so",
        cause="the GPU's memory had errors that cannot be corrected",
        fix=_RESET + ". If they come again, have the GPU replaced",
        source="nvidia-smi, ecc.errors.uncorrected.volatile.total",
        find=_errors,
    ),
    Check(
        "gpu-memory-broken",
        MACHINE,
        symptom="the GPU's memory has bad rows that cannot be replaced",
        cause="the GPU's memory has no spare rows left",
        fix="have the GPU replaced: NVIDIA takes it back for this",
        source="NVIDIA, GPU Memory Error Management: row-remapping failure",
        find=_failed_rows,
    ),
    Check(
        "xid-of-hardware",
        MACHINE,
        symptom="the driver says Xid {number} since the machine was started",
        cause="Xid {number}: {meaning}",
        fix="sudo reboot. If it comes again, have the GPU looked at by who sold it: "
        "nvidia-bug-report.sh collects what they ask for",
        source=_CATALOG,
        find=_of_hardware,
    ),
    Check(
        "gpu-hot",
        SLOW,
        symptom="a GPU is slowed down by its temperature",
        cause="the GPU is too hot",
        fix="see to fans, filters and the room's air: nvidia-smi -q -d TEMPERATURE,PERFORMANCE",
        source="nvidia-smi, clocks_event_reasons.hw_thermal_slowdown, sw_thermal_slowdown",
        find=_hot,
        warning=True,
    ),
    Check(
        "gpu-power-brake",
        SLOW,
        symptom="a GPU is slowed down to half its clock or less",
        cause="the power supply slows the GPU down",
        fix="look at the power supplies: nvidia-smi -q -d POWER,PERFORMANCE; sudo ipmitool sdr "
        "type 'Power Supply'",
        source="nvidia-smi, clocks_event_reasons.hw_power_brake_slowdown",
        find=_braked,
        warning=True,
    ),
    Check(
        "gpu-memory-to-be-replaced",
        MACHINE,
        symptom="rows or pages of the GPU's memory are bad, and still in use until a reset",
        cause="the GPU waits for a reset to take bad memory out of use",
        fix="when nobody works: sudo reboot",
        source="NVIDIA, GPU Memory Error Management; remapped_rows.pending, retired_pages.pending",
        find=_pending_rows,
        warning=True,
    ),
    Check(
        "xid-of-a-program",
        MACHINE,
        symptom="the driver says Xid {number} in the last day",
        cause="Xid {number}: {meaning}",
        fix="if the server ended with it, see its log, and upgrade the engine. See all: "
        "journalctl -k | grep -i xid",
        source=_CATALOG,
        find=_of_programs,
        warning=True,
    ),
    Check(
        "somebody-else-process",
        SLOW,
        symptom="process {pid} has memory of the GPUs, which the server lacks",
        cause="somebody else's process is on the GPUs",
        fix="see whose it is: ps -fp {pid}. To end it: sudo kill {pid}",
        source="nvidia-smi, compute-apps that are in no control group of homeport's",
        find=_others,
        warning=True,
    ),
)

AREA = Area("gpu", look, CHECKS)
