"""What a file is: stat, shasum, base64, readlink, mktemp, sed, wc."""

# pathlib doubles the start-up
# ruff: noqa: PTH100, PTH102, PTH112, PTH114, PTH115, PTH116, PTH120, PTH123

from __future__ import annotations

import os
import sys
import time

from .runtime import Failed, Refused, content, options, passed_on

_STAT = "usage: stat [-FLnq] [-f format | -l | -r | -s | -x] [-t timefmt] [file|handle ...]"


def stat(argv: list[str]) -> int:
    found, paths = options("stat", argv, "FLnqf:lrsxt:", _STAT)
    given = dict(found)
    if "f" not in given or not paths or set(given) & set("Flrsx"):
        raise Refused("stat is modelled with -f FORMAT and a path", _STAT)
    status = 0
    for path in paths:
        try:
            seen = os.stat(path) if "L" in given else os.lstat(path)
        except OSError as error:
            if "q" not in given:
                print(f"stat: {path}: stat: {error.strerror}", file=sys.stderr)
            status = 1
            continue
        text = _formatted(given["f"], path, seen, given.get("t", "%b %e %T %Y"))
        sys.stdout.write(text if "n" in given else f"{text}\n")
    return status


def _formatted(pattern: str, path: str, seen: os.stat_result, time_pattern: str) -> str:
    """stat(1), "Formats": %[flags][size][.precision][format][sub]datum."""
    out, rest = "", pattern
    while rest:
        head, mark, rest = rest.partition("%")
        out += head
        if not mark:
            break
        if rest[:1] in ("n", "t", "%"):
            out += {"n": "\n", "t": "\t", "%": "%"}[rest[0]]
            rest = rest[1:]
            continue
        form = part = ""
        if rest[:1] in tuple("DOUXFS"):
            form, rest = rest[0], rest[1:]
        if rest[:1] in tuple("HML"):
            part, rest = rest[0], rest[1:]
        out += _datum(form, part, rest[:1], path, seen, time_pattern)
        rest = rest[1:]
    return out


def _datum(
    form: str, part: str, datum: str, path: str, seen: os.stat_result, time_pattern: str
) -> str:
    import grp
    import pwd
    from stat import filemode

    times = {"a": seen.st_atime, "m": seen.st_mtime, "c": seen.st_ctime, "B": seen.st_ctime}
    numbers = {
        "d": seen.st_dev,
        "i": seen.st_ino,
        "l": seen.st_nlink,
        "u": seen.st_uid,
        "g": seen.st_gid,
        "z": seen.st_size,
        "b": seen.st_blocks,
        "k": seen.st_blksize,
        "f": 0,
    }
    if datum == "N" and not part:
        return path
    if datum == "Y" and not part:
        target = os.readlink(path) if os.path.islink(path) else ""
        return f" -> {target}" if form == "S" and target else target
    if datum == "p":
        if form == "S":
            return filemode(seen.st_mode)
        mode = {
            "": seen.st_mode,
            "H": seen.st_mode >> 12,
            "M": seen.st_mode >> 9 & 7,
            "L": seen.st_mode & 0o777,
        }[part]
        return str(mode) if form == "D" else f"{mode:o}"
    if form == "S" and datum == "u":
        return pwd.getpwuid(seen.st_uid).pw_name
    if form == "S" and datum == "g":
        return grp.getgrgid(seen.st_gid).gr_name
    if form == "S" and datum == "f":
        return "-"
    if form == "S" and datum in times:
        return time.strftime(time_pattern, time.localtime(times[datum]))
    if datum in times and form in ("", "D") and not part:
        return str(int(times[datum]))
    if datum in numbers and form in ("", "D", "U") and not part:
        return str(numbers[datum])
    raise Refused(f"%{form}{part}{datum} is not modelled", f"stat: {form}{part}{datum}: bad format")


def shasum(argv: list[str]) -> int:
    import hashlib

    usage = "Usage: shasum [OPTION]... [FILE]..."
    found, paths = options("shasum", argv, "a:bt", usage)
    size = dict(found).get("a", "1")
    if size not in ("1", "224", "256", "384", "512"):
        raise Refused(f"shasum: Unrecognized algorithm {size}", usage)
    status = 0
    for path in paths or ["-"]:
        try:
            data = content(path)
        except OSError as error:
            print(f"shasum: {path}: {error.strerror}", file=sys.stderr)
            status = 1
            continue
        print(f"{hashlib.new(f'sha{size}', data).hexdigest()}  {path}")
    return status


def base64(argv: list[str]) -> int:
    import binascii

    usage = "Usage:\tbase64 [-Ddh] [-b num] [-i in_file] [-o out_file]"
    found, rest = options("base64", argv, "Ddb:i:o:", usage, 64)
    if rest:  # GNU's `base64 FILE`; a Mac's takes none since macOS 13
        raise Refused(
            "base64 takes no operand on a Mac", f"base64: invalid argument {rest[0]}\n{usage}", 64
        )
    given = dict(found)
    source, target = given.get("i", "-"), given.get("o", "-")
    data = content(source)
    if "D" in given or "d" in given:
        try:
            result = binascii.a2b_base64(data)
        except binascii.Error:
            raise Failed("base64: stdin: (null): error decoding base64 input stream") from None
    else:
        result, width = binascii.b2a_base64(data, newline=False), int(given.get("b", "0"))
        lines = (
            [result[at : at + width] for at in range(0, len(result), width)] if width else [result]
        )
        result = b"".join(line + b"\n" for line in lines if line)
    if target == "-":
        sys.stdout.buffer.write(result)
    else:
        with open(target, "wb") as file:
            file.write(result)
    return 0


def readlink(argv: list[str]) -> int:
    found, paths = options("readlink", argv, "fn", "usage: readlink [-fn] [file ...]")
    letters, status = {letter for letter, _ in found}, 0
    for path in paths:
        if "f" in letters and os.path.isdir(os.path.dirname(os.path.abspath(path))):
            text = os.path.realpath(path)
        elif os.path.islink(path):
            text = os.readlink(path)
        else:
            status = 1
            continue
        sys.stdout.write(text if "n" in letters else f"{text}\n")
    return status


def mktemp(argv: list[str]) -> int:
    import tempfile

    usage = "usage: mktemp [-d] [-p tmpdir] [-q] [-t prefix] [-u] template ...\n"
    usage += "       mktemp [-d] [-p tmpdir] [-q] [-u] -t prefix"
    found, templates = options("mktemp", argv, "dqt:u", usage)
    given = dict(found)
    if "t" in given or not templates:
        base = os.environ.get("TMPDIR", "/tmp").rstrip("/")
        templates.append(f"{base}/{given.get('t', 'tmp')}.XXXXXXXXXX")
    for template in templates:
        stem = template.rstrip("X")  # only X at the very end are replaced
        size = len(template) - len(stem)
        path = template
        for name in tempfile._get_candidate_names():  # type: ignore[attr-defined]
            path = stem + (name * 4)[:size]
            if size == 0 or not os.path.lexists(path):
                break
        try:
            if "d" in given:
                os.mkdir(path, 0o700)
            elif "u" not in given:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise Failed(f"mktemp: mkstemp failed on {path}: {error.strerror}") from None
        print(path)
    return 0


def sed(argv: list[str]) -> int:
    usage = "usage: sed script [-EHalnru] [-i extension] [file ...]\n"
    usage += "\tsed [-EHalnu] [-i extension] [-e script] ... [-f script_file] ... [file ...]"
    found, rest = options("sed", argv, "EHae:f:i:I:lnru", usage)
    words: list[str] = []
    for letter, value in found:
        if letter in "HalI":
            raise Refused(f"sed -{letter} is not modelled", usage)
        # GNU's takes the extension only where it is attached, and a Mac's the next word too.
        words += [f"-{letter}{value}"] if letter == "i" else [f"-{letter}", *[value] * bool(value)]
    return passed_on("sed", ["--posix", *words, "--", *rest] if rest else ["--posix", *words])


def wc(argv: list[str]) -> int:
    """Its numbers have blanks before them, which `[ "$(wc -l < f)" = 1 ]` stumbles over."""
    found, paths = options("wc", argv, "clmw", "usage: wc [-Lclmw] [file ...]")
    letters, status = {letter for letter, _ in found} or set("lwc"), 0
    for path in paths or ["-"]:
        try:
            data = content(path)
        except OSError as error:
            print(f"wc: {path}: open: {error.strerror}", file=sys.stderr)
            status = 1
            continue
        counts = {
            "l": data.count(b"\n"),
            "w": len(data.split()),
            "c": len(data),
            "m": len(data.decode(errors="replace")),
        }
        text = "".join(f" {count:7}" for letter, count in counts.items() if letter in letters)
        print(text if path == "-" else f"{text} {path}")
    return status
