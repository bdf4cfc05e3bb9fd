"""Managed settings on a real host: written as root where that is asked for, and taken away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .lab import Lab
from .routes import CLUSTER

FILE = "/etc/claude-code/managed-settings.d/50-homeport.json"


@pytest.fixture
def inventory(lab: Lab) -> Any:
    (desk,) = lab.boot("desk")

    def write(user: str, **data: Any) -> Any:
        return lab.inventory({"workstations": [desk]}, user=user, routes=CLUSTER, **data)

    return write


def test_a_policy_is_roots_and_goes_again(lab: Lab, inventory: Any) -> None:
    (desk,) = lab.boot("desk")
    desk.write("/home/ops/.bashrc", "umask 077\n", "ops")
    desk.write("/home/ops/.profile", "umask 077\n", "ops")
    before = desk.tree()
    asked = inventory("ops", managed_settings="claude-glm")
    run = lab.deploy(asked, "--diff")
    assert run.status == 0, run.output
    token = desk.file("/home/ops/.homeport/routes/claude-glm.token").read_text().strip()
    file = desk.file(FILE)
    assert json.loads(file.read_text())["env"]["ANTHROPIC_BASE_URL"] == "http://glm-host:8000"
    assert (file.stat().st_mode & 0o777, file.stat().st_uid) == (0o644, 0)
    assert file.parent.stat().st_mode & file.parent.parent.stat().st_mode & 0o777 == 0o755
    assert token not in file.read_text() and token not in run.output
    assert lab.deploy(asked).of("desk")[0] == "no changes"
    file.write_text("{}")
    assert lab.deploy(asked).of("desk")[0] == "1 change made"
    assert "ANTHROPIC_BASE_URL" in file.read_text()
    assert lab.deploy(inventory("ops")).of("desk")[0] == "1 change made"
    assert not desk.file("/etc/claude-code").exists()
    lab.deploy(asked)
    run = lab.remove(inventory("ops"))
    assert run.status == 0, run.output
    assert desk.difference(before) == {}


def test_nobody_elses_is_written_over(lab: Lab, inventory: Any) -> None:
    (desk,) = lab.boot("desk")
    desk.write(FILE, "{}", "root")
    run = lab.deploy(inventory("ops", managed_settings="claude-glm"))
    assert run.status == 1
    assert f"{FILE} is there and not of our making. Move it away" in run.output
    assert desk.file(FILE).read_text() == "{}"


def test_who_may_not_is_told_before_anything_changes(lab: Lab, inventory: Any) -> None:
    (desk,) = lab.boot("desk")
    before = desk.tree()
    run = lab.deploy(inventory("anna", managed_settings="claude-glm"))
    assert run.status == 1
    assert f"{FILE} is root's to write, and sudo asks for a password" in run.output
    assert desk.difference(before) == {}
