"""What launchd.plist(5) allows, and how launchd looks at the file itself."""

from __future__ import annotations

import os
import plistlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: The keys that the stand-in models, with their types.
MODELLED: dict[str, tuple[type, ...]] = {
    "Label": (str,),
    "Program": (str,),
    "ProgramArguments": (list,),
    "EnvironmentVariables": (dict,),
    "WorkingDirectory": (str,),
    "StandardInPath": (str,),
    "StandardOutPath": (str,),
    "StandardErrorPath": (str,),
    "RunAtLoad": (bool,),
    "KeepAlive": (bool, dict),
    "ThrottleInterval": (int,),
    "ExitTimeOut": (int,),
    "Nice": (int,),
    "Umask": (int, str),
    "Disabled": (bool,),
    "ProcessType": (str,),
    "LimitLoadToSessionType": (str, list),
}

#: Further keys of the manual page. Real ones, with effects that nothing here reproduces.
DOCUMENTED = frozenset(
    {
        *("AbandonProcessGroup", "AssociatedBundleIdentifiers", "BundleProgram", "Debug"),
        *("EnableGlobbing", "EnablePressuredExit", "EnableTransactions", "GroupName"),
        *("HardResourceLimits", "InitGroups", "LaunchEvents", "LaunchOnlyOnce"),
        *("LegacyTimers", "LimitLoadFromHosts", "LimitLoadToHardware", "LimitLoadToHosts"),
        *("LowPriorityBackgroundIO", "LowPriorityIO", "MachServices", "MaterializeDatalessFiles"),
        *("OnDemand", "QueueDirectories", "RootDirectory", "SessionCreate", "Sockets"),
        *("SoftResourceLimits", "StartCalendarInterval", "StartInterval", "StartOnMount"),
        *("TimeOut", "UserName", "WaitForDebugger", "WatchPaths", "inetdCompatibility"),
    }
)
KEEP_ALIVE = frozenset({"SuccessfulExit", "Crashed"})
PROCESS_TYPES = frozenset({"Background", "Standard", "Adaptive", "Interactive"})


class Unfit(Exception):
    """launchd does not take the file: `code` and text as root sees them; `mistake` is for the log,
    where no launchd would ever take it, or a real one does something that is not modelled."""

    def __init__(self, code: int, text: str, mistake: str = "") -> None:
        super().__init__(text)
        self.code, self.text, self.mistake = code, text, mistake


@dataclass(frozen=True)
class Definition:
    """A plist that was found to be fit."""

    path: str
    values: dict[str, Any]

    @property
    def label(self) -> str:
        return str(self.values["Label"])

    @property
    def arguments(self) -> list[str]:
        return list(self.values.get("ProgramArguments") or [self.values["Program"]])

    @property
    def program(self) -> str:
        return str(self.values.get("Program") or self.arguments[0])

    @property
    def sessions(self) -> list[str]:
        wanted = self.values.get("LimitLoadToSessionType", "Aqua")
        return [wanted] if isinstance(wanted, str) else list(wanted)

    def restarts(self, exited: int | None) -> bool:
        """Whether KeepAlive starts it again; `exited` is its status, None after a signal."""
        wanted = self.values.get("KeepAlive", False)
        if isinstance(wanted, bool):
            return wanted
        if "SuccessfulExit" in wanted and wanted["SuccessfulExit"] == (exited == 0):
            return True
        return "Crashed" in wanted and wanted["Crashed"] == (exited is None)


def read(path: str, owner: int) -> Definition:
    """The definition at `path`, which has to be the user's or root's; raises `Unfit`."""
    try:
        seen = os.lstat(path)
        content = Path(path).read_bytes()
    except OSError as error:
        raise Unfit(error.errno or 5, error.strerror or "") from None
    if seen.st_uid not in (0, owner) or seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Unfit(122, "Path had bad ownership/permissions")
    try:
        values = plistlib.loads(content)
    except Exception as error:  # expat's, which has no public name, or plistlib's own
        raise Unfit(109, "Invalid property list", f"not a plist: {error}") from None
    if not isinstance(values, dict):
        raise Unfit(109, "Invalid property list", "its top is no dictionary")
    if mistake := _mistake(values):
        raise Unfit(109, "Invalid property list", mistake)
    return Definition(path, values)


def _mistake(values: dict[str, Any]) -> str:
    for key, value in values.items():
        if key in DOCUMENTED:
            return f"{key} is a key of launchd's that is not modelled"
        if key not in MODELLED:
            return f"{key} is no key of launchd.plist(5)"
        kinds = MODELLED[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            return f"{key} is {type(value).__name__}, not {kinds[0].__name__}"
    if not values.get("Label"):
        return "Label is missing"
    if not values.get("Program") and not values.get("ProgramArguments"):
        return "Program and ProgramArguments are both missing"
    words = [*values.get("ProgramArguments", ()), *values.get("EnvironmentVariables", {}).values()]
    if not all(isinstance(word, str) for word in words):
        return "an argument or a variable is not a string"
    if values.get("ProcessType", "Standard") not in PROCESS_TYPES:
        return f"ProcessType is {values['ProcessType']}"
    keep_alive = values.get("KeepAlive", False)
    if isinstance(keep_alive, dict) and not set(keep_alive) <= KEEP_ALIVE:
        return f"KeepAlive with {sorted(set(keep_alive) - KEEP_ALIVE)} is not modelled"
    paths = [values.get(key, "/") for key in MODELLED if key.endswith(("Path", "Directory"))]
    if any(not path.startswith("/") for path in paths):
        return "a path is relative: launchd expands neither ~ nor variables"
    return ""
