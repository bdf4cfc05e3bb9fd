"""All areas: every check that there is, in the order of what matters most."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Optional

from .table import Area, Check
from .wanted import Wanted


def areas(wanted: Optional[Wanted] = None) -> Iterator[Area[Any]]:
    """Those that have something to look at on a machine that should be `wanted`; else all.

    To import one takes longer than to look, so the others are not even imported.
    """
    if wanted is None or wanted.routes:
        from . import sessions

        yield sessions.AREA
    if wanted is None or wanted.services:
        from . import server_checks

        yield server_checks.AREA
    if wanted is None or wanted.routes:
        from . import routes

        yield routes.AREA
    if wanted is None or any(one.gpus for one in wanted.services):
        from . import gpu_checks

        yield gpu_checks.AREA
    if wanted is None or wanted.mirrored or any(one.weights for one in wanted.services):
        from . import weights

        yield weights.AREA
    if wanted is None or wanted.client or wanted.routes:
        from . import client

        yield client.AREA
    from . import drift, machine_checks

    yield from (machine_checks.AREA, drift.AREA)


def checks() -> list[Check[Any]]:
    return [check for area in areas() for check in area.checks]
