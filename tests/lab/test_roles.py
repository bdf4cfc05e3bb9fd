"""A workstation on a real host: apply, apply again, drift, removal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ..running import Run
from .lab import Lab
from .routes import CLUSTER

SETTINGS = '{\n  "model": "opus",\n  "permissions": {"deny": ["Read(.env)"]}\n}\n'


class Fleet:
    """A workstation, as it was before, and after the first run; glm-host serves nothing yet."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        _, self.desk = lab.boot("glm-host", "desk")
        self.desk.write("/home/anna/.claude/settings.json", SETTINGS, "anna")
        self.inventory = lab.inventory({"workstations": [self.desk]}, routes=CLUSTER)
        self.before = self.desk.tree()
        self.first = lab.deploy(self.inventory)
        self.after = self.desk.tree()

    def deploy(self) -> Run:
        return self.lab.deploy(self.inventory)


@pytest.fixture(scope="module")
def fleet(lab: Lab) -> Fleet:
    return Fleet(lab)


def test_the_first_run_says_what_is_served_where(fleet: Fleet) -> None:
    assert fleet.first.status == 0, fleet.first.output
    assert fleet.first.of("desk") == [
        "13 changes made",
        "claude-glm at http://glm-host:8000 is not up: nothing listens there",
    ]


def test_the_workstation_has_its_scripts_and_keeps_its_settings(fleet: Fleet) -> None:
    merged = json.loads(fleet.desk.file("/home/anna/.claude/settings.json").read_text())
    assert merged["model"] == "opus"
    assert merged["permissions"]["deny"] == ["Read(.env)", "WebSearch"]
    for shell in ("bash", "zsh"):
        found = fleet.desk.run(f"{shell} -i -c 'command -v use-glm.sh' 2>/dev/null", user="anna")
        assert found.strip() == "/home/anna/.homeport/bin/use-glm.sh"
        said = fleet.desk.run(f"{shell} -i -c 'source use-glm.sh' 2>&1", user="anna", check=False)
        assert "nothing listens at http://glm-host:8000" in said
        explained = f"{shell} -i -c 'homeport-explain --route claude-glm 2>&1' 2>/dev/null"
        words = "use-glm.sh typed here goes to http://glm-host:8000 as claude-glm"
        assert words in fleet.desk.run(explained, user="anna").splitlines()


def test_a_second_run_changes_nothing_and_says_so(fleet: Fleet) -> None:
    run = fleet.deploy()
    assert run.status == 0
    assert run.of("desk")[0] == "no changes"
    assert fleet.desk.tree() == fleet.after


def delete(file: Path) -> None:
    shutil.rmtree(file) if file.is_dir() else file.unlink()


def edit(file: Path) -> None:
    file.write_text("# something else\n")


def open_up(file: Path) -> None:
    file.chmod(0o777)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (".homeport/bin/use-glm.sh", delete),
        (".homeport/bin/use-glm.sh", edit),
        (".homeport/bin/use-anthropic.sh", open_up),
        (".homeport/routes/claude-glm.json", edit),
        (".homeport/routes/claude-glm.token", open_up),
        (".homeport/routes", delete),
        (".homeport", open_up),
    ],
)
def test_drift_is_repaired(fleet: Fleet, path: str, change: Callable[[Path], None]) -> None:
    change(fleet.desk.file(f"/home/anna/{path}"))
    run = fleet.deploy()
    assert run.status == 0, run.output
    assert "made" in run.of("desk")[0]
    assert fleet.desk.tree() == fleet.after


def test_what_the_user_changes_meanwhile_stays(fleet: Fleet) -> None:
    """A new setting of the user's survives the next run and the removal."""
    file = fleet.desk.file("/home/anna/.claude/settings.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "theme": "dark"}, indent=2) + "\n")
    assert fleet.deploy().of("desk")[0] == "no changes"
    assert json.loads(file.read_text())["theme"] == "dark"


def test_removal_leaves_no_trace(fleet: Fleet) -> None:
    run = fleet.lab.remove(fleet.inventory)
    assert run.status == 0, run.output
    settings = fleet.desk.file("/home/anna/.claude/settings.json")
    assert json.loads(settings.read_text()) == {**json.loads(SETTINGS), "theme": "dark"}
    settings.write_text(SETTINGS)
    assert fleet.desk.difference(fleet.before) == {}


def test_removal_again_has_nothing_to_do(fleet: Fleet) -> None:
    run = fleet.lab.remove(fleet.inventory)
    assert run.of("desk")[0] == "no changes"
