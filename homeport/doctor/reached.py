"""What was seen of a route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional, Union

from ..remote import explain
from .table import Unknown, known
from .wanted import Route

#: Tokens of an answer that the client asks for where it is told nothing (measured, 2.1.330).
USUAL_OUTPUT = 32_000


@dataclass(frozen=True)
class Problem:
    """Why no list of models came: of reach.py's kinds, or of the answer's."""

    kind: str
    said: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """One of /v1/models: the tokens that it holds, and its engine, where the server says so."""

    context: Optional[int] = None
    engine: str = ""


@dataclass(frozen=True)
class Reached:
    """A route, the `session` that its use-script starts, and what its server says: its `models` by
    their names. `ahead`, in seconds, and `days` are as in reach.Reply; `proxy` is the variable with
    the one that requests go through."""

    route: Route
    session: Union[explain.Session, Unknown]
    models: Union[Mapping[str, Model], Unknown]
    problem: Optional[Problem] = None
    seconds: float = 0
    ahead: Union[float, Unknown, None] = None
    days: Union[float, Unknown, None] = None
    proxy: str = ""

    @property
    def alias(self) -> str:
        """The name that the client asks for."""
        if isinstance(self.session, Unknown):
            return self.route.alias
        return explain.bare(str(self.session.get("ANTHROPIC_MODEL"))) or self.route.alias

    def get(self, name: str) -> str:
        """A variable of the session; "" where it is not set."""
        return str(known(self.session).get(name))

    def tokens(self, name: str) -> Optional[int]:
        value = self.get(name)
        return int(value) if value.isascii() and value.isdecimal() else None

    @property
    def output(self) -> int:
        return self.tokens("CLAUDE_CODE_MAX_OUTPUT_TOKENS") or USUAL_OUTPUT

    @property
    def simple(self) -> bool:
        return explain.is_true(self.get("CLAUDE_CODE_SIMPLE"))
