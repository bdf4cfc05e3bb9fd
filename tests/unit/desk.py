"""A home with routes as a deploy leaves it, for the doctor to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from homeport import claude_code
from homeport.doctor import wanted
from homeport.doctor.areas import areas
from homeport.doctor.table import Area, Context, Report, examine
from homeport.layout import Layout
from homeport.model import Route


@dataclass
class Desk:
    """A machine below `root`, whose user has these routes."""

    root: Path
    routes: list[wanted.Route] = field(default_factory=list)

    @property
    def home(self) -> Path:
        return self.root / "home" / "anna"

    @property
    def layout(self) -> Layout:
        return Layout.under(str(self.home), "~/.homeport")

    def add(self, route: Route, **changed: Any) -> None:
        """Write what a deploy writes for `route`; `changed` is of what the doctor is told."""
        file, token = Path(self.layout.route_settings(route)), Path(self.layout.token(route))
        file.parent.mkdir(parents=True, exist_ok=True)
        ca = self.layout.ca(route)
        if ca and route.endpoint.ca:
            Path(ca).write_bytes(route.endpoint.ca)
        file.write_text(json.dumps(claude_code.route_settings(route, {}, ca_path=ca)))
        token.write_text(f"{route.client_token}\n")
        self.routes.append(told(route, self.layout, **changed))

    def write(self, path: str, content: Any) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file

    def settings(self, route: Route) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(Path(self.layout.route_settings(route)).read_text())
        return found

    def change(self, route: Route, **variables: str | None) -> None:
        """Set variables of the route's settings; None takes one away."""
        settings = self.settings(route)
        for name, value in variables.items():
            settings["env"].pop(name, None)
            if value is not None:
                settings["env"][name] = value
        Path(self.layout.route_settings(route)).write_text(json.dumps(settings))

    def context(self, shell: Mapping[str, str] | None = None) -> Context:
        """`shell` are its variables; None: asked over SSH, where there are none."""
        variables = {"HOME": str(self.home), **(shell or {})}
        if shell is not None:
            variables["PATH"] = "/usr/bin"
        return Context(machine(self.layout, *self.routes), variables, self.home, root=self.root)

    def report(self, name: str, shell: Mapping[str, str] | None = None) -> Report:
        """What the area of that name says."""
        own: list[Area[Any]] = [area for area in areas() if area.name == name]
        report = examine(own, self.context(shell))
        assert "Error" not in " ".join(one.why for one in report.unchecked), report.unchecked
        return report


def told(route: Route, layout: Layout, **changed: Any) -> wanted.Route:
    """What the doctor is told of `route`, of a server elsewhere."""
    known = {
        "alias": route.alias,
        "name": route.name,
        "url": route.endpoint.url,
        "context": route.model.context,
        "max_output": route.model.max_output,
        "file": layout.route_settings(route),
        "token": layout.token(route),
        "command": route.script,
        "served": False,
        "engine": "",
        "ca": layout.ca(route),
        "effort": route.model.effort,
        "simple": route.model.simple,
    }
    return wanted.Route(**{**known, **changed})


def machine(layout: Layout, *routes: wanted.Route) -> wanted.Wanted:
    """What it is told of the whole machine."""
    return wanted.Wanted(
        homeport="1",
        home=layout.home,
        directory=layout.directory,
        manager=wanted.SYSTEMD,
        owner="o",
        deployed="d",
        routes=routes,
    )


def names(report: Report) -> list[str]:
    return [finding.check for finding in report.findings]
