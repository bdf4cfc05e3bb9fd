"""What can be wrong with a machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from shlex import quote

from .limits import CLOCKS_DIFFER, EXPIRES_SOON
from .machine import Machine, look
from .table import MACHINE, REFUSED, SLOW, Area, Check, Values, known

#: Bytes in a second from which swapping is felt: the answer of a server whose weights are away
#: waits for each of them. Our own bound.
_SWAPPING = 1 << 20

#: Memory is nearly gone below this share of it, and this many bytes. Our own bounds; earlyoom(1)
#: begins to end processes at 10 %.
_SHARE, _BYTES = 0.05, 1_000_000_000

#: Bytes that a pull leaves free (`MARGIN` of remote/pull.py), and files that logs and state take.
_MARGIN, _FILES = 100_000_000, 1_000

#: Seconds that a question may take on its way here.
_ON_THE_WAY = 60

#: The folders with the most files, where du does not count them.
_COUNTED = "find -x %s | sed 's|/[^/]*$||' | sort | uniq -c | sort -n | tail -5"


def _on_battery(seen: Machine) -> Iterator[Values]:
    if seen.on_battery and known(seen.power).battery:
        left = known(seen.power).left
        yield {"detail": "" if left is None else "%d %% are left" % left}


def _saving(seen: Machine) -> Iterator[Values]:
    if seen.laptop and known(seen.power).saving:
        yield {"fix": known(seen.power).saving}


def _swapping(seen: Machine) -> Iterator[Values]:
    if seen.computes and known(seen.memory).swapped >= _SWAPPING:
        yield {"detail": "%.1f MB in a second" % (known(seen.memory).swapped / 1e6)}


def _memory(seen: Machine) -> Iterator[Values]:
    if not seen.computes:
        return
    found = known(seen.memory)
    if found.available < min(found.size * _SHARE, _BYTES):
        yield {"left": _size(found.available), "size": _size(found.size)}


def _read_only(seen: Machine) -> Iterator[Values]:
    disk = known(seen.disk)
    if disk.read_only:
        yield {"directory": disk.directory}


def _full(seen: Machine) -> Iterator[Values]:
    disk = known(seen.disk)
    if disk.free < _MARGIN and not disk.read_only:
        yield {"directory": quote(disk.directory), "left": _size(disk.free)}


def _filling(seen: Machine) -> Iterator[Values]:
    disk = known(seen.disk)
    if _MARGIN <= disk.free < seen.room and not disk.read_only:
        yield {"directory": quote(disk.directory), "left": _size(disk.free)}


def _files(seen: Machine) -> Iterator[Values]:
    disk = known(seen.disk)
    if disk.files is not None and disk.files < _FILES:
        values = {"directory": quote(disk.directory), "detail": "%d are left" % disk.files}
        if seen.darwin:  # whose du counts bytes only
            values["fix"] = "remove what has many: %s" % _COUNTED % quote(disk.directory)
        yield values


def _clock(seen: Machine) -> Iterator[Values]:
    ahead = seen.clock.ahead
    # What the question took makes a clock look ahead, never behind.
    if ahead is not None and not -CLOCKS_DIFFER <= ahead <= CLOCKS_DIFFER + _ON_THE_WAY:
        values = {"off": "%.0f s %s" % (abs(ahead), "ahead" if ahead > 0 else "behind")}
        if seen.darwin:
            values["fix"] = "sudo sntp -sS time.apple.com"
        elif seen.clock.kept is None:
            values["fix"] = "set the clock of the machine that this container runs on"
        yield values


def _nobody_sets_it(seen: Machine) -> Iterator[Values]:
    if known(seen.clock.kept) is False:
        yield {}


def _expired(seen: Machine) -> Iterator[Values]:
    for one in seen.trusted:
        if known(one.expires) <= seen.now:
            yield {"alias": one.alias, "date": _date(known(one.expires)), "detail": one.file}


def _expiring(seen: Machine) -> Iterator[Values]:
    for one in seen.trusted:
        if seen.now < known(one.expires) < seen.now + EXPIRES_SOON * 86_400:
            yield {"alias": one.alias, "date": _date(known(one.expires)), "detail": one.file}


def _date(moment: float) -> str:
    return time.strftime("%d %B %Y", time.gmtime(moment)).lstrip("0")


def _size(size: float) -> str:
    return "%.1f GB" % (size / 1e9) if size >= 1e9 else "%.0f MB" % (size / 1e6)


_CA = (
    "ask whoever runs the server for the new one, put it into the file that the route's ca_file "
    "names, and run the deploy again"
)

CHECKS: tuple[Check[Machine], ...] = (
    Check(
        "memory-gone",
        MACHINE,
        symptom="{left} of {size} of memory are left: programs are ended without a word",
        cause="the memory is nearly all taken",
        fix="end what takes it: ps -eo rss,pid,args | sort -rn | head -5",
        source="our bound: 5 %, or 1 GB of a larger machine; earlyoom(1) acts at 10 %",
        find=_memory,
    ),
    Check(
        "disk-full",
        MACHINE,
        symptom="pulls, logs and deploys fail: the disk of {directory} has {left} left",
        cause="the disk is full",
        fix="make room. See what takes it: du -xhd1 {directory} | sort -h",
        source="what remote/pull.py leaves free",
        find=_full,
    ),
    Check(
        "disk-full-of-files",
        MACHINE,
        symptom='"No space left on device", though df shows room',
        cause="the disk holds no more files",
        fix="remove what has many: du --inodes -xd1 {directory} | sort -n",
        source="statvfs(3), f_favail",
        find=_files,
    ),
    Check(
        "disk-read-only",
        MACHINE,
        symptom="nothing can be written to {directory}",
        cause="the disk is mounted read-only, as Linux does after errors of it",
        fix="see why: journalctl -k -b | grep -iE 'remount|I/O error'. Then repair or "
        "replace the disk",
        source="mount(8), errors=remount-ro",
        find=_read_only,
    ),
    Check(
        "clock-off",
        REFUSED,
        symptom="certificates and logins are refused: the clock is {off}",
        cause="the clock is wrong",
        fix="sudo timedatectl set-ntp true",
        source="against the machine that asks; more than 2 minutes, and 1 for the way",
        find=_clock,
    ),
    Check(
        "certificate-file-expired",
        REFUSED,
        symptom="{alias} is not trusted since {date}",
        cause="the certificate that the server is trusted by has expired",
        fix=_CA,
        source="RFC 5280, 4.1.2.5",
        find=_expired,
    ),
    Check(
        "swapping",
        SLOW,
        symptom="answers come slower by the minute, and the machine with them",
        cause="it swaps: model and programs do not fit in its memory together",
        fix="end what takes the memory: ps -eo rss,pid,args | sort -rn | head -5; or set a "
        "smaller context or quant for this laptop, and run the deploy again",
        source="pswpin and pswpout of /proc/vmstat, vm_stat(1); our bound: 1 MB in a second",
        find=_swapping,
        warning=True,
    ),
    Check(
        "on-battery",
        SLOW,
        symptom="the laptop's own model is slow, and empties the battery",
        cause="the laptop runs on battery",
        fix="plug it in",
        source="power_supply of sysfs, pmset(1)",
        find=_on_battery,
        warning=True,
    ),
    Check(
        "low-power-mode",
        SLOW,
        symptom="the laptop's own model is slow",
        cause="low-power mode is on",
        fix="powerprofilesctl set balanced",
        source="platform_profile of sysfs, pmset(1)",
        find=_saving,
        warning=True,
    ),
    Check(
        "disk-filling",
        MACHINE,
        symptom="the disk of {directory} has {left} left",
        cause="the disk fills up: the next version of what is installed has no room",
        fix="make room. See what takes it: du -xhd1 {directory} | sort -h",
        source="1 GB: Claude Code 2.1.330 has 0.4; 25 GB for vLLM on GPUs "
        "(homeport/gpu_serving.py)",
        find=_filling,
        warning=True,
    ),
    Check(
        "certificate-file-expiring",
        REFUSED,
        symptom="{alias} will not be trusted after {date}",
        cause="the certificate that the server is trusted by expires soon",
        fix=_CA,
        source="RFC 5280, 4.1.2.5; three weeks before",
        find=_expiring,
        warning=True,
    ),
    Check(
        "clock-not-set",
        REFUSED,
        symptom="the clock drifts, until certificates and logins are refused",
        cause="nothing sets the clock by others'",
        fix="sudo timedatectl set-ntp true",
        source="timedatectl(1); not in a container, whose clock is its host's",
        find=_nobody_sets_it,
        warning=True,
    ),
)

AREA = Area("machine", look, CHECKS)
