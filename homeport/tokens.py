"""A route's token, from a variable, a file, or made here. Touches this machine only."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import ROOT
from .errors import SettingsError
from .model import Endpoint, Token


def of_route(alias: str, spec: Mapping[str, Any], endpoint: Endpoint) -> Token | None:
    """The token of a route whose settings are `spec`; None where its endpoint needs none."""
    if token := given(spec, "token_env", "token_file"):
        return token
    if endpoint.loopback or spec.get("open_to_network"):
        return None
    return _generated(ROOT / "secrets" / f"{alias}.token")


def of_router(name: str) -> Token:
    """The token of the router on the host `name`: each has its own, derived from one that is kept
    here."""
    kept = _generated(ROOT / "secrets" / "router.token").value
    return Token(hmac.new(kept.encode(), name.encode(), "sha256").hexdigest())


def given(values: Mapping[str, Any], env: str, file: str) -> Token | None:
    """The token that one of the keys `env` and `file` of `values` says where to find, if any."""
    if values.get(env) and values.get(file):
        raise SettingsError(env, values[env], f"{file} is set as well", "Keep one of the two")
    if variable := values.get(env):
        if variable not in os.environ:
            raise SettingsError(
                env,
                variable,
                "this variable is not set where pyinfra runs",
                f"export {variable}=..., or use {file}",
            )
        return Token(os.environ[variable])
    if name := values.get(file):
        try:
            return Token((ROOT / Path(name).expanduser()).read_text().strip())
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                file,
                name,
                f"it cannot be read ({getattr(error, 'strerror', None) or 'it is no text'})",
                f"Put the token in it, or leave {file} out",
            ) from None
    return None


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
