"""A route's token, from a variable, a file, or made here. Touches this machine only."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

from . import ROOT
from .errors import SettingsError
from .model import Endpoint, Token


def of_route(alias: str, spec: dict[str, Any], endpoint: Endpoint) -> Token | None:
    """The token of a route whose settings are `spec`; None where its endpoint needs none."""
    if "token_env" in spec and "token_file" in spec:
        raise SettingsError(
            "token_env", spec["token_env"], "token_file is set as well", "Keep one of the two"
        )
    if variable := spec.get("token_env"):
        if variable not in os.environ:
            raise SettingsError(
                "token_env",
                variable,
                "this variable is not set where pyinfra runs",
                f"export {variable}=..., or use token_file",
            )
        return Token(os.environ[variable])
    if name := spec.get("token_file"):
        try:
            return Token((ROOT / name).expanduser().read_text().strip())
        except OSError as error:
            raise SettingsError(
                "token_file",
                name,
                f"it cannot be read ({error.strerror})",
                "Put the token in it, or leave token_file out to have one generated",
            ) from None
    if endpoint.loopback or spec.get("open_to_network"):
        return None
    return _generated(ROOT / "secrets" / f"{alias}.token")


def _generated(path: Path) -> Token:
    """The token that homeport keeps at `path`, made at the first use; 0600 from its first byte."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        new = path.with_name(f"{path.name}.{os.getpid()}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secrets.token_hex(32)}\n")
        with contextlib.suppress(FileExistsError):  # another run made it just now
            os.link(new, path)  # complete, or not there
        new.unlink()
    return Token(path.read_text().strip())
