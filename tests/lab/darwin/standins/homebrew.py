"""brew: bottles from /opt/darwin/formulae/NAME/{version,bin/*}, and casks from .../casks.

A test changes what there is to install by editing those folders: another `version` is an upgrade.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from .runtime import HOME, Failed, Refused

PREFIX = Path("/opt/homebrew")
VERSION = "4.6.17"
USAGE = "Example usage:\n  brew info [FORMULA|CASK...]\n  brew install FORMULA|CASK..."


class Shelf:
    """Formulae or casks: those to be had, and those installed."""

    def __init__(self, cask: bool) -> None:
        self.kind = "cask" if cask else "formula"
        self.offered = Path(HOME, "casks" if cask else "formulae")
        self.cellar = PREFIX / ("Caskroom" if cask else "Cellar")

    def newest(self, name: str) -> str:
        file = self.offered / name / "version"
        if not file.is_file():
            end = f'No available formula with the name "{name}".'
            raise Failed(
                f"Error: Cask '{name}' is unavailable: No Cask with this name exists."
                if self.kind == "cask"
                else f"Warning: {end}\nError: {end}"
            )
        return file.read_text().strip()

    def installed(self) -> dict[str, str]:
        kegs = self.cellar.glob("*/*") if self.cellar.is_dir() else ()
        return {keg.parent.name: keg.name for keg in sorted(kegs)}

    def pour(self, name: str) -> None:
        version = self.newest(name)
        keg = self.cellar / name / version
        shutil.copytree(self.offered / name / "bin", keg / "bin", symlinks=True)
        for program in (keg / "bin").iterdir():
            link = PREFIX / "bin" / program.name
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..", *program.relative_to(PREFIX).parts))
        opt = PREFIX / "opt" / name
        opt.parent.mkdir(exist_ok=True)
        opt.unlink(missing_ok=True)
        opt.symlink_to(Path("..", *keg.relative_to(PREFIX).parts))
        print(f"==> Pouring {name}--{version}.arm64_sequoia.bottle.tar.gz")
        files = sum(1 for path in keg.rglob("*") if path.is_file())
        print(f"🍺  {keg}: {files} files, 1MB")

    def remove(self, name: str) -> None:
        keg = self.cellar / name
        linked = Path("..", *keg.relative_to(PREFIX).parts)
        for link in (PREFIX / "bin").iterdir():
            if link.is_symlink() and link.readlink().is_relative_to(linked):
                link.unlink()
        (PREFIX / "opt" / name).unlink(missing_ok=True)
        shutil.rmtree(keg)


def brew(argv: list[str]) -> int:
    if os.getuid() == 0:
        raise Failed(
            "Error: Running Homebrew as root is extremely dangerous and no longer supported.\n"
            "As Homebrew does not drop privileges on installation you would be giving all\n"
            "build scripts full access to your system."
        )
    if not argv:
        raise Refused("brew without a command", USAGE)
    words = [word for word in argv[1:] if word not in ("--cask", "--casks", "--formula", "-q")]
    cask = "--cask" in argv or "--casks" in argv
    commands = {
        "--version": _version, "-v": _version, "--prefix": _prefix, "list": _list, "ls": _list,
        "install": _install, "uninstall": _uninstall, "upgrade": _upgrade, "update": _update,
        "outdated": _outdated, "info": _info, "tap": _tap,
    }  # fmt: skip
    if argv[0] not in commands:
        raise Refused(f"brew {argv[0]} is not modelled", f"Error: Unknown command: brew {argv[0]}")
    return commands[argv[0]](words, Shelf(cask))


def _names(
    command: str, words: list[str], known: tuple[str, ...] = ()
) -> tuple[set[str], list[str]]:
    """Flags and names; brew takes them in any order."""
    flags = {word for word in words if word.startswith("-")}
    if unknown := flags - set(known):
        raise Refused(
            f"brew {command} {unknown} is not modelled", f"Error: invalid option: {unknown}"
        )
    return flags, [word for word in words if word not in flags]


def _writable() -> None:
    if not os.access(PREFIX / "bin", os.W_OK):
        raise Failed(
            "Error: The following directories are not writable by your user:\n"
            f"{PREFIX}\n\nYou should change the ownership of these directories to your user."
        )
    if not os.environ.get("HOMEBREW_NO_AUTO_UPDATE"):
        print("==> Auto-updating Homebrew...", file=sys.stderr)


def _version(words: list[str], shelf: Shelf) -> int:
    _names("--version", words)
    print(f"Homebrew {VERSION}")
    return 0


def _prefix(words: list[str], shelf: Shelf) -> int:
    _, names = _names("--prefix", words)
    for name in names:
        shelf.newest(name)
        print(PREFIX / "opt" / name)
    if not names:
        print(PREFIX)
    return 0


def _list(words: list[str], shelf: Shelf) -> int:
    flags, names = _names("list", words, ("--versions", "-1"))
    there = shelf.installed()
    missing = [name for name in names if name not in there]
    for name in names or there:
        if name in there:
            print(f"{name} {there[name]}" if "--versions" in flags else name)
        elif "--versions" not in flags:
            print(f"Error: No such keg: {shelf.cellar}/{name}", file=sys.stderr)
    return 1 if missing else 0


def _install(words: list[str], shelf: Shelf) -> int:
    _, names = _names("install", words)
    if not names:
        raise Refused(
            "brew install without a name",
            "Error: Invalid usage: this command requires at least 1 formula or cask argument.",
        )
    _writable()
    for name in names:
        there, newest = shelf.installed().get(name), shelf.newest(name)
        if there == newest:
            print(
                f"Warning: {name} {there} is already installed and up-to-date.\n"
                f"To reinstall {there}, run:\n  brew reinstall {name}",
                file=sys.stderr,
            )
            continue
        if there:
            shelf.remove(name)
        shelf.pour(name)
    return 0


def _uninstall(words: list[str], shelf: Shelf) -> int:
    _, names = _names("uninstall", words)
    for name in names:
        there = shelf.installed().get(name)
        if there is None:
            raise Failed(f"Error: No such keg: {shelf.cellar}/{name}")
        print(f"Uninstalling {shelf.cellar}/{name}/{there}...")
        shelf.remove(name)
    return 0


def _upgrade(words: list[str], shelf: Shelf) -> int:
    _, names = _names("upgrade", words)
    _writable()
    for name in names or _behind(shelf):
        there, newest = shelf.installed().get(name), shelf.newest(name)
        if there is None:
            raise Failed(f"Error: {name} not installed")
        if there == newest:
            print(f"Warning: {name} {there} already installed", file=sys.stderr)
            continue
        print(f"==> Upgrading {name}\n  {there} -> {newest}")
        shelf.remove(name)
        shelf.pour(name)
    return 0


def _update(words: list[str], shelf: Shelf) -> int:
    _names("update", words)
    print("Already up-to-date.")
    return 0


def _outdated(words: list[str], shelf: Shelf) -> int:
    _names("outdated", words)
    for name in _behind(shelf):
        print(name)
    return 0


def _info(words: list[str], shelf: Shelf) -> int:
    _, names = _names("info", words, ("--json=v2",))
    if "--json=v2" not in words or not names:
        raise Refused("brew info is modelled with --json=v2 and a name")
    there = shelf.installed()
    found = [
        {
            "name": name,
            "versions": {"stable": shelf.newest(name)},
            "installed": [{"version": there[name]}] if name in there else [],
            "outdated": there.get(name, shelf.newest(name)) != shelf.newest(name),
        }
        for name in names
    ]
    cask = shelf.kind == "cask"
    print(json.dumps({"formulae": [] if cask else found, "casks": found if cask else []}))
    return 0


def _tap(words: list[str], shelf: Shelf) -> int:
    _, names = _names("tap", words)
    taps = PREFIX / "Library/Taps"
    for name in names:
        owner, _, repository = name.partition("/")
        if not repository:
            raise Failed(f"Error: Invalid tap name: '{name}'")
        (taps / owner / f"homebrew-{repository}").mkdir(parents=True, exist_ok=True)
    if not names and taps.is_dir():
        for path in sorted(taps.glob("*/homebrew-*")):
            print(f"{path.parent.name}/{path.name.removeprefix('homebrew-')}")
    return 0


def _behind(shelf: Shelf) -> list[str]:
    return [name for name, version in shelf.installed().items() if shelf.newest(name) != version]
