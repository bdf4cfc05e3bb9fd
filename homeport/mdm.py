"""`make policy`: write Claude Code's managed settings for a route, for whatever manages machines.

usage: python -m homeport.mdm ALIAS
"""

from __future__ import annotations

import argparse
import runpy
import sys
from typing import Any

from . import ROOT, policy, settings
from .errors import SettingsError
from .layout import Layout

#: Where the files go, and which group data they are made from.
FOLDER = ROOT / "policy"
FILES = ("group_data/all.py", "group_data/workstations.py")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make policy", allow_abbrev=False)
    parser.add_argument("alias", nargs="?", metavar="ALIAS")
    alias = parser.parse_args(argv).alias
    if alias is None:
        sys.exit("homeport: say which route: make policy ROUTE=claude-glm")
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name in FILES:
        try:
            found = runpy.run_path(str(ROOT / name))
        except Exception as error:
            sys.exit(f"homeport: {name}: {type(error).__name__}: {error}")
        values |= {key: value for key, value in found.items() if not key.startswith("_")}
        origins |= dict.fromkeys(found, name)
    values |= {"use": None, "managed_settings": alias, "router": None, "model_overrides": {}}
    # One that is served on the machine itself is as good.
    routes = values.get("routes")
    if isinstance(routes, dict):
        if alias not in routes:
            sys.exit(f"homeport: ROUTE is {alias!r}: no route. Known are {', '.join(routes)}")
        # A policy holds no token, so none is looked for, or made.
        spec = {k: v for k, v in routes[alias].items() if k not in ("token_env", "token_file")}
        values |= {"routes": {alias: {**spec, "open_to_network": True}}, "serve": [alias]}
    host = settings.HostData(
        "make policy", ("workstations",), values, lambda key: origins.get(key, FILES[0])
    )
    try:
        own = settings.of(host).workstation
    except SettingsError as error:
        sys.exit(f"homeport: {error}")
    if own is None or own.managed is None:
        return 1
    if own.managed.endpoint.ca:
        sys.exit(
            f"homeport: {alias} has a ca_file, which each machine has in a place of its own. Add "
            "the certificate to the machines' trusted ones, and leave ca_file out"
        )
    document = policy.managed_settings(
        own.managed, own.guardrails, Layout.under("~", values.get("homeport_dir", "~/.homeport"))
    )
    FOLDER.mkdir(exist_ok=True)
    for file, content in (
        ("managed-settings.json", policy.written(document)),
        ("claude-code.mobileconfig", policy.profile(document)),
    ):
        (FOLDER / file).write_bytes(content)
        print(f"written: {FOLDER.name}/{file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
