"""All areas: every check that there is, in the order of what matters most."""

from __future__ import annotations

from typing import Any

from . import (
    client,
    drift,
    gpu_checks,
    machine_checks,
    routes,
    server_checks,
    sessions,
    weights,
)
from .table import Area, Check

AREAS: tuple[Area[Any], ...] = (
    sessions.AREA,
    server_checks.AREA,
    routes.AREA,
    gpu_checks.AREA,
    weights.AREA,
    client.AREA,
    machine_checks.AREA,
    drift.AREA,
)


def checks() -> list[Check[Any]]:
    return [check for area in AREAS for check in area.checks]
