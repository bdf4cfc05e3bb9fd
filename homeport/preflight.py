"""What happens around a pyinfra run: all settings are checked before the first connection, and
after the results each host gets its last lines.
"""

from __future__ import annotations

import atexit
import os
import runpy
import shlex
import signal
import sys
import traceback
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import gevent
from pyinfra import logger
from pyinfra.api import Host, Inventory, State
from pyinfra.api.connectors import get_execution_connectors
from pyinfra.api.state import BaseStateCallback

from . import fleet, progress, report, settings, transport
from .errors import SettingsError
from .gpu_settings import Peer
from .settings import HostData

#: Scripts that change hosts, and options with which nothing is changed.
_CHANGE = {"deploy.py", "remove.py"}
DOCTOR = "doctor.py"

#: The key, said by --data, with which the doctor reads all weights.
DEEP = "deep"
_LOOK = {"--dry", "--debug-facts", "--debug-operations"}

_NO_QUESTION = {"-y", "--yes", "--dry", "--json", "-h", "--help"}


def install(state: State) -> None:
    """Check the user's files now, and every host's settings once the inventory is read.

    pyinfra has no hook between reading the inventory and connecting, so `state.init`, which it
    calls just there, is wrapped.
    """
    check_files()
    check_terminal()
    progress.install()
    run = gevent.getcurrent()
    # In the event loop: the signal itself may come in the middle of any operation.
    later = gevent.get_hub().loop.run_callback_threadsafe
    signal.signal(signal.SIGINT, lambda *_: later(interrupt, state, run))
    init = state.init

    def check_and_init(inventory: Inventory, *arguments: Any, **keywords: Any) -> None:
        found = check(inventory, keywords.get("initial_limit"))
        init(inventory, *arguments, **keywords)
        inventory.get_active_hosts = partial(fleet.in_order, inventory)  # type: ignore[method-assign]
        if state.should_raise_failed_hosts:
            # Without -y pyinfra asks at each host that fails whether to go on. The others always
            # go on: a laptop that is asleep is no reason to stop.
            state.should_raise_failed_hosts = None
            state.config.FAIL_PERCENT = None
        state.add_callback_handler(Connections())
        together = {name: one.gpu.members for name, one in found.items() if one.gpu}
        if DOCTOR in _scripts():
            from . import fleet_doctor  # which needs what is here

            fleet_doctor.install(state, together)
            return  # it says all itself
        atexit.register(say_last_lines, state, together)

    state.init = check_and_init  # type: ignore[method-assign]


#: Whether the run was, by Ctrl-C.
interrupted: list[bool] = []


def interrupt(state: State, run: Any) -> None:
    """End `run` at Ctrl-C, at once and with a shell's status for that; pyinfra itself waits for
    the operation that is at work, and ends with success."""
    print("Exiting upon user request!", file=sys.stderr)
    interrupted.append(True)
    gevent.kill(run, SystemExit(130))
    if state.initialised:
        state.pool.kill(block=False)


def check_files() -> None:
    """Exit with file, line and error where a settings file is not valid Python."""
    scripts = [Path(argument) for argument in sys.argv[1:] if argument.endswith(".py")]
    inventory = scripts[:1]  # what follows it are deploys
    for file in (*inventory, *sorted(Path("group_data").glob("*.py"))):
        if not file.exists():
            stop([f"{file} does not exist. See: ls {file.parent}"])
        try:
            runpy.run_path(str(file))
        except SyntaxError as error:
            stop([f"{file} line {error.lineno}: {type(error).__name__}: {error.msg}"])
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            line = [1, *(frame.lineno for frame in frames if frame.filename == str(file))][-1]
            stop([f"{file} line {line}: {type(error).__name__}: {error}"])


def check_terminal() -> None:
    """Exit where pyinfra would ask before it starts, and nobody is there to answer."""
    runs = _scripts() & _CHANGE
    if runs and DOCTOR in _scripts():
        stop([f"{DOCTOR} looks at hosts as they are. Run it by itself, after {', '.join(runs)}"])
    asked = not _NO_QUESTION & set(sys.argv) and not os.environ.get("PYINFRA_YES")
    if runs and asked and not sys.stdin.isatty():
        stop(["There is no terminal to ask before hosts are changed. Add -y, or --dry to look."])


def check(inventory: Inventory, limit: list[Host] | None) -> dict[str, settings.HostSettings]:
    """The settings of each host; exit with one sentence for each that cannot work."""
    if len(inventory) == 0:
        stop(["There is no host in the inventory. Name a file, e.g. inventory/prod.py."])
    if limit == []:
        names = ", ".join([*settings.ROLE_GROUPS, *(host.name for host in inventory)])
        stop([f"--limit, or --exclude, leaves no host. Groups and hosts are: {names}."])
    problems: list[str] = []
    found: dict[str, settings.HostSettings] = {}
    for host in inventory:
        try:
            data = host_data(host)
            for sentence in settings.unread(data, keys_of_connectors() | {DEEP}):
                logger.warning(sentence)
            wanted = settings.of(data)
            if not data.removing:
                settings.check_pins(data, wanted)
                found[host.name] = wanted
                for warning in wanted.gpu.warnings if wanted.gpu else ():
                    logger.warning(f"{host.name}: {warning}")
        except SettingsError as error:
            problems.append(str(error))
    try:
        settings.check_mirror(found)
    except SettingsError as error:
        problems.append(str(error))
    if DOCTOR in _scripts():
        limit = None  # it may look at some of the hosts that serve together
    else:
        problems += cut_apart(limit, found)
    problems += [
        f"--serial is one host after the other, and {' and '.join(one.gpu.members)} serve "
        f"{one.gpu.route.alias} together. Leave it out, or these hosts, by --exclude gpu_hosts"
        for name, one in found.items()
        if fleet.one_by_one() and one.gpu and one.gpu.place.nodes > 1 and name in _at(limit, found)
    ]
    if problems:
        stop(list(dict.fromkeys(problems)))
    return found


def _at(limit: list[Host] | None, found: Mapping[str, settings.HostSettings]) -> set[str]:
    """The names of the hosts that the run is about."""
    return {host.name for host in limit} if limit else set(found)


def _scripts() -> set[str]:
    return {Path(argument).name for argument in sys.argv[1:]}


def host_data(host: Host) -> HostData:
    """What the inventory says of a host, and which file said it."""
    inventory = host.inventory

    def origin(key: str) -> str:
        if key in inventory.get_override_data():
            return "--data"
        if key in inventory.get_host_data(host.name):
            return f"inventory: {host.name}"
        for group in reversed(host.groups):
            if key in inventory.get_group_data(group):
                return f"group_data/{group}.py"
        return "group_data/all.py"

    groups = tuple(dict.fromkeys(host.groups))
    return HostData(
        name=host.name,
        groups=groups,
        values=host.data.dict(),
        origin=origin,
        fleet=_fleet(inventory) if "gpu_hosts" in groups else (),
        removing="remove.py" in _scripts(),
    )


def _fleet(inventory: Inventory) -> tuple[Peer, ...]:
    """All GPU hosts, in the inventory's order, those that --limit leaves out as well."""
    found = [host for host in inventory if "gpu_hosts" in host.groups]
    return tuple(Peer(host.name, host.data.dict(), lambda key: "inventory") for host in found)


def cut_apart(limit: list[Host] | None, found: dict[str, settings.HostSettings]) -> list[str]:
    """A sentence for each model whose hosts --limit names some of."""
    names = _at(limit, found)
    return [
        f"--limit leaves out {', '.join(others)}, and {one.gpu.route.alias} is served by "
        f"{' and '.join(one.gpu.members)} together. Name all of them"
        for name, one in found.items()
        if name in names and one.gpu and (others := [m for m in one.gpu.members if m not in names])
    ]


def keys_of_connectors() -> set[str]:
    """The keys of host data that pyinfra itself reads, such as ssh_user."""
    return {key for cls in get_execution_connectors().values() for key in cls.data_meta}


def stop(problems: list[str]) -> NoReturn:
    # SystemExit, since pyinfra shows a traceback or a place in our code for everything else.
    sys.exit("\n".join(f"homeport: {problem}" for problem in problems))


class Connections(BaseStateCallback):
    """Tunes each connection, and keeps the names of the hosts that there is none to."""

    @staticmethod
    def host_connect(state: State, host: Host) -> None:
        transport.tune(host)

    @staticmethod
    def host_connect_error(state: State, host: Host, error: Exception) -> None:
        report.say(host, f"not reached: {error}. To see why: {ssh_command(host)}")


def ssh_command(host: Host) -> str:
    """What a person types to log in to `host` as pyinfra does."""
    data = host.data
    name = data.get("ssh_hostname") or host.name
    words = ["ssh"]
    for flag, key in (("-p", "ssh_port"), ("-i", "ssh_key")):
        if value := data.get(key):
            words += [flag, str(value)]
    user = data.get("ssh_user")
    return shlex.join([*words, f"{user}@{name}" if user else name])


def say_last_lines(state: State, together: Mapping[str, Iterable[str]]) -> None:
    """Print what was reported of each host. pyinfra has no hook for the end of a run."""
    for host in state.inventory:
        for line in report.lines(state, host):
            logger.info(line)
    if _scripts() & _CHANGE and not _LOOK & set(sys.argv):
        for line in fleet.summary(state, together):
            logger.info(f"homeport: {line}")
