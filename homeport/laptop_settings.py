"""What group data says of a laptop. Touches this machine only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

from . import ROOT
from .errors import Kinds, SettingsError
from .model import Route

#: What may be said of a laptop, and its type.
LAPTOP_KEYS: dict[str, Kinds] = {
    "engine": (str, type(None)),
    "quant": (str, type(None)),
    "on_battery": bool,
    "chat_template": (str, type(None)),
}


class Engine(StrEnum):
    """Where llama.cpp comes from; a path is a program that is there already."""

    HOMEBREW = "homebrew"
    XLLAMACPP = "xllamacpp"  # the pinned wheel


@dataclass(frozen=True)
class LaptopSettings:
    """`engine`: an `Engine`, the path of a llama-server, or None for what suits the machine;
    `quant`: the name of the one it serves, None for what fits; `on_battery`: whether the server is
    started without mains power; `chat_template`: the text of one that replaces the model's own."""

    engine: str | None = None
    quant: str | None = None
    on_battery: bool = True
    chat_template: bytes | None = None

    @property
    def program(self) -> str | None:
        """The path of the llama-server that the user names."""
        return self.engine if self.engine and self.engine not in list(Engine) else None


def of(
    values: Mapping[str, Any], origin: Callable[[str], str], serves: tuple[Route, ...]
) -> LaptopSettings:
    """The settings of a laptop that serves these routes; raises `SettingsError`, with the file
    from `origin`. The types of `values` are known to be right."""
    try:
        found = LaptopSettings(
            engine=_engine(values.get("engine")),
            quant=values.get("quant"),
            on_battery=values.get("on_battery", True),
            chat_template=_template(values.get("chat_template")),
        )
        for route in serves:
            recipe = route.model.laptop
            if found.quant is not None and recipe and recipe.quants:
                recipe.quant(found.quant)
    except SettingsError as error:
        raise error.inside(f"{origin(error.field)}: ") from None
    for route in serves:
        if route.model.laptop is None:
            raise SettingsError(
                f"{origin('serve')}: serve",
                route.alias,
                f"{route.model.label} is not for llama.cpp",
                "Serve it on a GPU host, and leave it out here",
            )
    return found


def _engine(value: str | None) -> str | None:
    if value is None or value in list(Engine) or value.startswith(("/", "~/")):
        return value
    close = get_close_matches(value, [str(one) for one in Engine], n=1)
    known = f"Known are {', '.join(Engine)}, None, and the path of a llama-server"
    raise SettingsError(
        "engine",
        value,
        "there is no such engine",
        f"Did you mean {close[0]!r}?" if close else known,
    )


def _template(name: str | None) -> bytes | None:
    if name is None:
        return None
    try:
        return (ROOT / Path(name).expanduser()).read_bytes()
    except OSError as error:
        raise SettingsError(
            "chat_template",
            name,
            f"it cannot be read ({error.strerror})",
            "Write the path of a Jinja file, relative to this project, or None for the model's own",
        ) from None
