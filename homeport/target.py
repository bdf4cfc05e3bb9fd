"""The host that a role works on: what it should be, what it is, and where things go on it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from pyinfra import logger, state
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_host

from . import fitting, report
from . import settings as group_data
from .errors import SettingsError
from .facts.file import EntriesFact, UnwritableFact
from .facts.host import Machine, MachineFact
from .facts.llama import CardFact
from .layout import Layout, expand
from .memory import Choice, Kind, Memory, whole_gib
from .preflight import host_data
from .service import Manager
from .settings import HostSettings

#: Bytes: all that homeport writes, but for engines and weights (measured: 60 kB), many times over.
NEEDED_SPACE = 2_000_000


#: Seconds that a first look may take: on a host where a disk hangs it would last for ever.
_PATIENCE = 60

NOT_SEEN = "this host could not be looked at, its lines above say why. Nothing was changed"


@dataclass(frozen=True)
class Target:
    """What every role is given: `settings` as they fit the machine, by the `choices` of a quant
    for each alias, in one of its `memories`, of which the first is the best. `too_large` says of
    each route that was left out why it was."""

    settings: HostSettings
    machine: Machine
    layout: Layout
    memories: tuple[Memory, ...] = ()
    choices: Mapping[str, Choice] = field(default_factory=dict)
    too_large: tuple[str, ...] = ()

    @property
    def python(self) -> str:
        """The host's Python; `fit` sees to it that there is one."""
        return self.machine.python or "python3"


def current() -> Target | None:
    """The host that pyinfra is at; None where it could not be looked at (pyinfra says why)."""
    host = ctx_host.get()
    settings = group_data.of(host_data(host))
    machine: Machine | None = None
    try:
        machine = host.get_fact(MachineFact, directory=settings.directory, _timeout=_PATIENCE)
    except EOFError:  # pyinfra asked for a password, and nobody was there
        print(file=sys.stderr)  # after its question
        _fail(["sudo asks for a password here. Type it at a terminal, or set _sudo_password"])
    except PyinfraError:  # no host is left
        _fail([NOT_SEEN])
    else:
        if machine is None:
            _fail([NOT_SEEN])
    if machine is None:
        return None
    if settings.of_machine:
        machine = replace(machine, manager=Manager.SYSTEM)
    layout = Layout.under(machine.home, settings.directory)
    try:
        memories = _memories(settings, machine)
        found = fitting.fitted(settings, memories)
    except SettingsError as error:
        _fail([str(error.inside(f"{host_data(host).origin(error.field)}: "))])
        return None
    for alias, choice in found.choices.items():
        tight = "" if choice.fits else "; served all the same, as this quant is pinned"
        host.log(f"{alias}: {choice}{tight}")
    for sentence in found.too_large:
        host.log_styled(sentence, fg="yellow", log_func=logger.warning)
    return Target(found.settings, machine, layout, memories, found.choices, found.too_large)


def _memories(settings: HostSettings, machine: Machine) -> tuple[Memory, ...]:
    """Where a model may be on a laptop, the best first. A graphics card counts where the user
    names a program that can use it: Homebrew's for Linux and the wheel compute on the CPU.

    As sold, in whole GiB: how much of it kernel and firmware keep changes with their versions, and
    a server should not be another one for that."""
    installed = whole_gib(machine.memory)
    if machine.kernel == "Darwin" and machine.arch == "arm64":
        return (Memory(Kind.UNIFIED, installed, installed),)
    ram = Memory(Kind.RAM, installed, installed)
    program = settings.laptop.program if settings.laptop else None
    if program and machine.kernel != "Darwin":
        path = expand(program, machine.home)
        if card := ctx_host.get().get_fact(CardFact, program=path):
            return (Memory(Kind.CARD, whole_gib(card), installed), ram)
    return (ram,)


def fit(target: Target, *checks: Callable[[Target], list[str]]) -> bool:
    """Whether no check finds a problem. Else each is said, and nothing is done on this host."""
    problems = _machine_problems(target) or _directory_problems(target)
    if target.machine.python:
        problems += [problem for check in checks for problem in check(target)]
    _fail(problems)
    return not problems


def room(target: Target) -> list[str]:
    """Whether there is room for what every role writes."""
    free = target.machine.free
    if free >= NEEDED_SPACE:
        return []
    return [
        f"the disk of {target.layout.directory} is full: {free // 1000} kB are free. See what "
        f"takes the room with: du -xhd1 '{target.machine.home}'"
    ]


def unwritable(paths: list[str], target: Target) -> list[str]:
    """A sentence for each of `paths` that is there and that homeport may not write in."""
    return [
        f"{path} is not yours to write in. Type: sudo chown {target.machine.user} '{path}' && "
        f"chmod u+rwx '{path}'"
        for path in ctx_host.get().get_fact(UnwritableFact, paths=tuple(paths))
    ]


def _fail(problems: list[str]) -> None:
    host = ctx_host.get()
    for problem in problems:
        host.log_styled(f"homeport: {problem}", fg="red", log_func=logger.error)
        report.say(host, problem)
    if problems:
        try:
            state.fail_hosts({host})
        except PyinfraError:
            sys.exit(1)  # no host is left, and each has said why


def _machine_problems(target: Target) -> list[str]:
    """What every role needs."""
    if target.machine.python:
        return []
    fix = install_python(target.machine)
    return [f"there is no python3 on this machine, and homeport runs on it. Type: {fix}"]


def install_python(machine: Machine) -> str:
    """What a person types to have a Python that serves."""
    if machine.kernel == "Darwin":
        return "brew install python"
    return "sudo apt install python3 python3-venv"


def _directory_problems(target: Target) -> list[str]:
    """Homeport's directory has to be new or its own, and the only one of this home: two of them
    would share settings.json and the names of the scripts."""
    host, layout = ctx_host.get(), target.layout
    names = host.get_fact(EntriesFact, path=layout.directory)
    if names and "state" not in names:
        return [
            f"{layout.directory} holds other things than homeport's. Choose another homeport_dir"
        ]
    if closed := unwritable([layout.home, layout.directory, *layout.parts], target):
        return closed
    homes = host.get_fact(EntriesFact, path=layout.home)
    others = [f"{layout.home}/{name}" for name in homes if name.startswith(".homeport")]
    return [
        f"this home has another deployment, in {other}. Take it away first: "
        f"{'make untry' if other.endswith('-try') else 'pyinfra inventory/local.py remove.py'}"
        for other in others
        if other != layout.directory and host.get_fact(EntriesFact, path=f"{other}/state")
    ]
