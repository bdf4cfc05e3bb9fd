"""What the machine is: uname, sw_vers, sysctl, pmset, dscl, df, date."""

# pathlib doubles the start-up
# ruff: noqa: PTH116, PTH123

from __future__ import annotations

import os
import pwd
import sys
import time

from .runtime import STATE, Failed, Refused, options


def oids() -> dict[str, str]:
    """What sysctl(8) knows; tests may edit the file."""
    with open(f"{STATE}/sysctl") as file:
        known = dict(line.rstrip("\n").split(": ", 1) for line in file)
    known["kern.hostname"] = os.uname().nodename
    return known


def uname(argv: list[str]) -> int:
    found, rest = options("uname", argv, "amnoprsv", "usage: uname [-amnoprsv]")
    if rest:
        raise Refused("uname takes no operand", "usage: uname [-amnoprsv]")
    known = oids()
    values = {
        "s": known["kern.ostype"],
        "n": known["kern.hostname"],
        "r": known["kern.osrelease"],
        "v": known["kern.version"],
        "m": known["hw.machine"],
        "p": "arm" if known["hw.machine"] == "arm64" else "i386",
        "o": known["kern.ostype"],
    }
    letters = {letter for letter, _ in found} or {"s"}
    if "a" in letters:
        letters |= set("snrvm")
    print(" ".join(value for letter, value in values.items() if letter in letters))
    return 0


def sw_vers(argv: list[str]) -> int:
    known = oids()
    values = {
        "ProductName": "macOS",
        "ProductVersion": known["kern.osproductversion"],
        "BuildVersion": known["kern.osversion"],
    }
    if not argv:
        for key, value in values.items():
            print(f"{key}:\t\t{value}")
        return 0
    for key, value in values.items():
        plain = key[0].lower() + key[1:]
        if argv in ([f"-{plain}"], [f"--{plain}"]):
            print(value)
            return 0
    raise Refused(
        "unknown option of sw_vers",
        "Usage: sw_vers [--help|--productName|--productVersion|--productVersionExtra|"
        "--buildVersion]",
    )


def sysctl(argv: list[str]) -> int:
    usage = "usage: sysctl [-bdehiNnoqx] [-B <bufsize>] [-f filename] name[=value] ...\n       "
    found, names = options("sysctl", argv, "ain", f"{usage}sysctl [-bdehNnoqx] [-B <bufsize>] -a")
    letters, known, status = {letter for letter, _ in found}, oids(), 0
    for name in known if "a" in letters else names:
        if "=" in name:
            raise Refused("setting an oid is not modelled", status=1)
        if name in known:
            print(known[name] if "n" in letters else f"{name}: {known[name]}")
        elif "i" not in letters:
            print(f"sysctl: unknown oid '{name}'", file=sys.stderr)
            status = 1
    return status


def pmset(argv: list[str]) -> int:
    if argv != ["-g", "batt"]:
        raise Refused("pmset is modelled with -g batt only", "Usage: pmset <options>")
    with open(f"{STATE}/power") as file:
        sys.stdout.write(file.read())
    return 0


def dscl(argv: list[str]) -> int:
    if len(argv) < 3 or argv[0] not in (".", "/Local/Default", "/Search"):
        raise Refused("dscl is modelled for . and /Search only", status=64)
    command, path, keys = argv[1].lstrip("-"), argv[2], argv[3:]
    users = {user.pw_name: user for user in pwd.getpwall()}
    if command == "list" and path == "/Users" and len(keys) <= 1:
        for name, user in sorted(users.items()):
            print(f"{name:<24} {_attributes(user)[keys[0]]}" if keys else name)
        return 0
    if command != "read" or not path.startswith("/Users/"):
        raise Refused(f"dscl -{command} {path} is not modelled", status=64)
    if path[7:] not in users:
        raise Failed("<dscl_cmd> DS Error: -14136 (eDSRecordNotFound)", 56)
    attributes = _attributes(users[path[7:]])
    for key in keys or attributes:
        if key not in attributes:
            print(f"No such key: {key}", file=sys.stderr)
        elif " " in attributes[key]:
            print(f"{key}:\n {attributes[key]}")
        else:
            print(f"{key}: {attributes[key]}")
    return 0


def _attributes(user: pwd.struct_passwd) -> dict[str, str]:
    return {
        "NFSHomeDirectory": user.pw_dir,
        "PrimaryGroupID": str(user.pw_gid),
        "RealName": user.pw_gecos or user.pw_name,
        "RecordName": user.pw_name,
        "UniqueID": str(user.pw_uid),
        "UserShell": user.pw_shell,
    }


def df(argv: list[str]) -> int:
    usage = "usage: df [-b | -g | -H | -h | -k | -m | -P] [-acIilnY] [-T type] [filesystem ...]"
    found, paths = options("df", argv, "kP", usage, 64)
    letters = {letter for letter, _ in found}
    if not paths or "k" not in letters:
        raise Refused("df is modelled with -k, -P and a path", usage, 64)
    print("Filesystem   1024-blocks      Used Available Capacity  Mounted on")
    status = 0
    for path in paths:
        try:
            found_disk = os.statvfs(path)
        except OSError as error:
            print(f"df: {path}: {error.strerror}", file=sys.stderr)
            status = 1
            continue
        unit = found_disk.f_frsize / 1024
        used = int((found_disk.f_blocks - found_disk.f_bfree) * unit)
        free = int(found_disk.f_bavail * unit)
        total = int(found_disk.f_blocks * unit)
        capacity = round(100 * used / (used + free)) if used + free else 100
        where = "/System/Volumes/Data"
        print(f"/dev/disk3s5 {total:>11} {used:>9} {free:>9} {capacity:>7}%  {where}")
    return status


def date(argv: list[str]) -> int:
    usage = (
        "usage: date [-jnRu] [-I[date|hours|minutes|seconds|ns]] [-f input_fmt]\n"
        "            [-r filename|seconds] [-v[+|-]val[y|m|w|d|H|M|S]]\n"
        "            [[[[mm]dd]HH]MM[[cc]yy][.SS] | new_date] [+output_fmt]"
    )
    found, rest = options("date", argv, "f:jr:u", usage)
    given = dict(found)
    pattern = "+%a %b %e %T %Z %Y"
    if rest and rest[-1].startswith("+"):
        pattern = rest.pop()
    if "u" in given:
        os.environ["TZ"] = "UTC"
        time.tzset()
    now = time.time()
    if "r" in given:
        text = given["r"]
        now = int(text) if text.lstrip("-").isdigit() else os.stat(text).st_mtime
    elif "f" in given and "j" in given and len(rest) == 1:
        try:
            now = time.mktime(time.strptime(rest.pop(), given["f"]))
        except ValueError:
            raise Failed("Failed conversion of ``'' using format ``''\n" + usage) from None
    if rest:
        raise Refused("date does not set the clock here", usage)
    # GNU's %N is no conversion on a Mac: the letter itself is printed.
    print(time.strftime(pattern[1:].replace("%N", "N"), time.localtime(now)))
    return 0
