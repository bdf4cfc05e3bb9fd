"""brew: bottles from HOME/formulae/NAME/{version,bin/*}, and casks from .../casks, where HOME is
/opt/darwin, or /opt/linuxbrew on a host that is no Mac.

A test changes what there is to install by editing those folders: another `version` is an upgrade.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from .runtime import HOME, Failed, Refused

VERSION = "6.0.9"
USAGE = "Example usage:\n  brew info [FORMULA|CASK...]\n  brew install FORMULA|CASK..."

#: Of the many variables in its manual those that make sense for programs that run it.
VARIABLES = frozenset(
    {
        *("HOMEBREW_AUTO_UPDATE_SECS", "HOMEBREW_NO_ANALYTICS", "HOMEBREW_NO_ASK"),
        *("HOMEBREW_NO_AUTOREMOVE", "HOMEBREW_NO_AUTO_UPDATE", "HOMEBREW_NO_COLOR"),
        *("HOMEBREW_NO_EMOJI", "HOMEBREW_NO_ENV_HINTS", "HOMEBREW_NO_INSTALLED_DEPENDENTS_CHECK"),
        *("HOMEBREW_NO_INSTALL_CLEANUP", "HOMEBREW_NO_INSTALL_UPGRADE"),
        # Set by `brew shellenv`.
        *("HOMEBREW_CELLAR", "HOMEBREW_PREFIX", "HOMEBREW_REPOSITORY"),
    }
)


class Shelf:
    """Formulae or casks: those to be had, and those installed."""

    def __init__(self, cask: bool) -> None:
        settings = json.loads(Path(HOME, "homebrew.json").read_text())
        self.prefix, self.bottle = Path(settings["prefix"]), settings["bottle"]
        self.kind = "cask" if cask else "formula"
        self.offered = Path(HOME, "casks" if cask else "formulae")
        self.cellar = self.prefix / ("Caskroom" if cask else "Cellar")

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

    def kegs(self, name: str) -> list[str]:
        """The versions that are there, the linked one last."""
        found = sorted(keg.name for keg in (self.cellar / name).glob("*"))
        opt = self.prefix / "opt" / name
        linked = opt.readlink().name if opt.is_symlink() else ""
        return sorted(found, key=lambda version: version == linked)

    def installed(self) -> dict[str, str]:
        names = sorted(folder.name for folder in self.cellar.glob("*"))
        return {name: kegs[-1] for name in names if (kegs := self.kegs(name))}

    def pour(self, name: str, came_along: bool = False) -> None:
        version = self.newest(name)
        keg = self.cellar / name / version
        if self.bottle:
            print(f"==> Pouring {name}--{version}.{self.bottle}.bottle.tar.gz")
        else:
            print("==> cmake -S . -B build\n==> cmake --build build\n==> cmake --install build")
        self.unlink(name)
        shutil.rmtree(keg, ignore_errors=True)
        shutil.copytree(self.offered / name / "bin", keg / "bin", symlinks=True)
        if came_along:
            (keg / "came-along").touch()
        self.link(name, keg)
        files = sum(1 for path in keg.rglob("*") if path.is_file())
        emoji = "" if os.environ.get("HOMEBREW_NO_EMOJI") else "🍺  "
        print(f"{emoji}{keg}: {files} files, 1MB")

    def needs(self, name: str) -> list[str]:
        """The formulae that it cannot do without, those of these first."""
        file = self.offered / name / "depends"
        direct = file.read_text().split() if file.is_file() else []
        return [one for need in direct for one in (*self.needs(need), need)]

    def needed_by(self, name: str) -> list[str]:
        return [one for one in self.installed() if name in self.needs(one)]

    def came_along(self, name: str) -> bool:
        """Whether it was installed for the sake of another."""
        return (self.cellar / name / self.kegs(name)[-1] / "came-along").exists()

    def link(self, name: str, keg: Path) -> None:
        for program in (keg / "bin").iterdir():
            link = self.prefix / "bin" / program.name
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..", *program.relative_to(self.prefix).parts))
        opt = self.prefix / "opt" / name
        opt.unlink(missing_ok=True)
        opt.symlink_to(Path("..", *keg.relative_to(self.prefix).parts))

    def unlink(self, name: str) -> None:
        linked = Path("..", *(self.cellar / name).relative_to(self.prefix).parts)
        for link in (self.prefix / "bin").iterdir():
            if link.is_symlink() and link.readlink().is_relative_to(linked):
                link.unlink()
        (self.prefix / "opt" / name).unlink(missing_ok=True)

    def clean_up(self, name: str) -> None:
        """Remove what an upgrade left, unless the user wants it to stay."""
        old = self.kegs(name)[:-1]
        if old and not os.environ.get("HOMEBREW_NO_INSTALL_CLEANUP"):
            print(f"==> Running `brew cleanup {name}`...")
            for version in old:
                print(f"Removing: {self.cellar / name / version}... (1 files, 1MB)")
                shutil.rmtree(self.cellar / name / version)


def brew(argv: list[str]) -> int:
    _surroundings(argv)
    if not argv:
        raise Refused("brew without a command", USAGE)
    words = [word for word in argv[1:] if word not in ("--cask", "--casks", "--formula", "-q")]
    cask = "--cask" in argv or "--casks" in argv
    commands = {
        "--version": _version, "-v": _version, "--prefix": _prefix, "list": _list, "ls": _list,
        "install": _install, "uninstall": _uninstall, "upgrade": _upgrade, "update": _update,
        "outdated": _outdated, "info": _info, "tap": _tap, "link": _link, "unlink": _unlink,
        "leaves": _leaves,
    }  # fmt: skip
    if argv[0] not in commands:
        raise Refused(f"brew {argv[0]} is not modelled", f"Error: Unknown command: brew {argv[0]}")
    return commands[argv[0]](words, Shelf(cask))


def _surroundings(argv: list[str]) -> None:
    """What it wants of whoever runs it, whatever the command."""
    if not os.environ.get("HOME"):
        raise Failed("Error: $HOME must be set to run brew.")
    for name in os.environ:
        if name.startswith("HOMEBREW_") and name not in VARIABLES:
            raise Refused(f"{name} is no variable of Homebrew's, or not modelled")
    if not os.access(".", os.R_OK):
        user = os.environ.get("USER") or str(os.getuid())
        raise Failed(
            f"Error: The current working directory must be readable to {user} to run brew."
        )
    if os.getuid() == 0 and argv[:1] not in (["--prefix"], ["--version"]):
        raise Failed(
            "Error: Running Homebrew as root is extremely dangerous and no longer supported.\n"
            "As Homebrew does not drop privileges on installation you would be giving all\n"
            "build scripts full access to your system."
        )


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


def _writable(shelf: Shelf, what: str) -> None:
    """Brings itself up to date, asks a person, and looks whether it may install."""
    if not os.environ.get("HOMEBREW_NO_AUTO_UPDATE"):
        if not os.access(shelf.cellar, os.W_OK):
            raise Failed(
                f"Error: {shelf.cellar} is not writable. You should change the\n"
                f"ownership and permissions of {shelf.cellar} back to your\nuser account:\n"
                f"  sudo chown -R $(whoami) {shelf.cellar}"
            )
        print("==> Auto-updating Homebrew...", file=sys.stderr)
        if not os.environ.get("HOMEBREW_NO_ENV_HINTS"):
            print(
                "Adjust how often this is run with `$HOMEBREW_AUTO_UPDATE_SECS` or disable with\n"
                "`$HOMEBREW_NO_AUTO_UPDATE=1`. Hide these hints with `$HOMEBREW_NO_ENV_HINTS=1` "
                "(see `man brew`).",
                file=sys.stderr,
            )
    # Since Homebrew 6, at a terminal only.
    if sys.stdin.isatty() and not os.environ.get("HOMEBREW_NO_ASK"):
        print(f"==> Do you want to proceed with the {what}? [y/n]", flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Failed("")
    folders = [shelf.cellar, *(shelf.prefix / name for name in ("bin", "opt", "var/homebrew"))]
    if closed := " ".join(str(folder) for folder in folders if not os.access(folder, os.W_OK)):
        lines = closed.replace(" ", "\n")
        raise Failed(
            f"Error: The following directories are not writable by your user:\n{lines}\n\n"
            "You should change the ownership of these directories to your user.\n"
            f"  sudo chown -R $(whoami) {closed}\n\n"
            f"And make sure that your user has write permission.\n  chmod u+w {closed}"
        )


def _version(words: list[str], shelf: Shelf) -> int:
    _names("--version", words)
    print(f"Homebrew {VERSION}")
    return 0


def _prefix(words: list[str], shelf: Shelf) -> int:
    _, names = _names("--prefix", words)
    for name in names:
        shelf.newest(name)
        print(shelf.prefix / "opt" / name)
    if not names:
        print(shelf.prefix)
    return 0


def _list(words: list[str], shelf: Shelf) -> int:
    flags, names = _names("list", words, ("--versions", "-1"))
    there = shelf.installed()
    missing = [name for name in names if name not in there]
    for name in names or there:
        if name in there:
            print(" ".join([name, *shelf.kegs(name)]) if "--versions" in flags else name)
        elif "--versions" not in flags:
            print(f"Error: No such keg: {shelf.cellar}/{name}", file=sys.stderr)
    return 1 if missing else 0


def _install(words: list[str], shelf: Shelf) -> int:
    _, names = _names("install", words)
    if not names:
        raise _usage("install")
    _writable(shelf, "installation")
    for name in names:
        there, newest = shelf.installed().get(name), shelf.newest(name)
        if there == newest:
            print(
                f"Warning: {name} {there} is already installed and up-to-date.\n"
                f"To reinstall {there}, run:\n  brew reinstall {name}",
                file=sys.stderr,
            )
            continue
        if there and os.environ.get("HOMEBREW_NO_INSTALL_UPGRADE"):
            print(
                f"Warning: {name} {there} is already installed, it's just not up-to-date.\n"
                f"To upgrade to {newest}, run:\n  brew upgrade {name}",
                file=sys.stderr,
            )
            continue
        if there:
            print(f"==> Upgrading {name}\n  {there} -> {newest}")
        for needed in shelf.needs(name):
            if needed not in shelf.installed():
                print(f"==> Installing {name} dependency: {needed}")
                shelf.pour(needed, came_along=True)
        shelf.pour(name)
        shelf.clean_up(name)
    return 0


def _usage(command: str) -> Refused:
    return Refused(
        f"brew {command} without a name",
        "Error: Invalid usage: this command requires at least 1 formula or cask argument.",
    )


def _leaves(words: list[str], shelf: Shelf) -> int:
    flags, _ = _names("leaves", words, ("--installed-as-dependency", "--installed-on-request"))
    for name in shelf.installed():
        wanted = shelf.came_along(name) != ("--installed-on-request" in flags)
        if not shelf.needed_by(name) and (wanted or not flags):
            print(name)
    return 0


def _link(words: list[str], shelf: Shelf) -> int:
    for name in _names("link", words)[1]:
        keg = shelf.cellar / name / shelf.installed()[name]
        print(f"Linking {keg}... 1 symlinks created.")
        shelf.link(name, keg)
    return 0


def _unlink(words: list[str], shelf: Shelf) -> int:
    for name in _names("unlink", words)[1]:
        print(f"Unlinking {shelf.cellar / name}... 1 symlinks removed.")
        shelf.unlink(name)
    return 0


def _uninstall(words: list[str], shelf: Shelf) -> int:
    flags, names = _names("uninstall", words, ("--force",))
    if not names:
        raise _usage("uninstall")
    for name in names:
        kegs = shelf.kegs(name)
        if not kegs:
            raise Failed(f"Error: No such keg: {shelf.cellar}/{name}")
        if others := [one for one in shelf.needed_by(name) if one not in names]:
            raise Failed(
                f"Error: Refusing to uninstall {shelf.cellar}/{name}\n"
                f"because it is required by {', '.join(others)}, which is currently installed."
            )
        gone = kegs if "--force" in flags else kegs[-1:]
        folder = shelf.cellar / name
        if not os.access(shelf.cellar, os.W_OK):
            raise Failed(
                f"Error: Could not remove {name} keg! Do so manually:\n"
                f"  sudo rm -rf {folder / gone[-1]}"
            )
        print(f"Uninstalling {folder / gone[-1]}... (1 files, 1MB)")
        shelf.unlink(name)
        for version in gone:
            shutil.rmtree(folder / version)
        if left := [version for version in kegs if version not in gone]:
            are = "are" if len(left) > 1 else "is"
            print(
                f"{name} {', '.join(left)} {are} still installed.\n"
                f"To remove all versions, run:\n  brew uninstall --force {name}"
            )
        else:
            folder.rmdir()
    return 0


def _upgrade(words: list[str], shelf: Shelf) -> int:
    _, names = _names("upgrade", words)
    _writable(shelf, "upgrade")
    for name in names or _behind(shelf):
        there, newest = shelf.installed().get(name), shelf.newest(name)
        if there is None:
            raise Failed(f"Error: {name} not installed")
        if there == newest:
            print(f"Warning: {name} {there} already installed", file=sys.stderr)
            continue
        print(f"==> Upgrading 1 outdated package:\n{name} {there} -> {newest}")
        print(f"==> Upgrading {name}\n  {there} -> {newest}")
        shelf.pour(name)
        shelf.clean_up(name)
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
    own = shelf.prefix / "Homebrew"
    taps = (own if own.is_dir() else shelf.prefix) / "Library/Taps"
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
