"""All areas: every check that there is, in the order of what matters most."""

from __future__ import annotations

from typing import Any

from . import drift, server_checks
from .table import Area, Check

AREAS: tuple[Area[Any], ...] = (server_checks.AREA, drift.AREA)


def checks() -> list[Check[Any]]:
    return [check for area in AREAS for check in area.checks]
