"""The doctor's frame: how checks are run, what a fleet's reports come to, and drift."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from homeport import ROOT, doctoring, troubleshooting
from homeport.doctor import areas, drift, fleet
from homeport.doctor.__main__ import main
from homeport.doctor.table import (
    HEADINGS,
    SLOW,
    Area,
    Check,
    Context,
    Finding,
    Report,
    Subject,
    Unknown,
    Values,
    examine,
    known,
)
from homeport.doctor.wanted import Route, Service, Wanted, Weights
from homeport.doctor.words import lines
from homeport.facts.host import words

EVERY = [*areas.checks(), *fleet.CHECKS]


@dataclass(frozen=True)
class Kettle:
    water: int | Unknown


def dry(kettle: Kettle) -> Iterator[Values]:
    if known(kettle.water) == 0:
        yield {"litres": "0", "detail": "in the kitchen"}


def leaking(kettle: Kettle) -> Iterable[Values]:
    return [{"litres": "3"}] if kettle.water == 3 else []


CHECKS: tuple[Check[Kettle], ...] = (
    Check("leaking", SLOW, "{litres} l in {name}", "a hole", "mend it", "a", leaking, warning=True),
    Check("dry", SLOW, "{litres} l in {name}", "nobody filled it", "fill {name}", "b", dry),
)


def kettles(*water: int | Unknown) -> Area[Kettle]:
    def look(context: Context) -> Iterator[Subject[Kettle]]:
        for number, each in enumerate(water):
            yield Subject(f"k{number}", Kettle(each), {"name": f"kettle {number}"})

    return Area("kettles", look, CHECKS, lambda kettle: f"{kettle.water} l")


def wanted(directory: Path = Path("/nowhere"), **more: Any) -> Wanted:
    given: dict[str, Any] = {"manager": "systemd", "owner": "0123", "deployed": "abc", **more}
    return Wanted("0.1.0", str(directory.parent), str(directory), **given)


def context(directory: Path = Path("/nowhere"), **more: Any) -> Context:
    return Context(wanted(directory, **more), {}, Path("/"))


def test_what_was_not_tried_is_said_beside_what_is_wrong() -> None:
    area = replace(kettles(3, 1), untried=lambda kettle: "it was not tried: it is hot")
    report = examine([area], context())
    assert list(lines(report, "here"))[-1] == "note: it was not tried: it is hot"
    assert "a: note: it was not tried: it is hot" in fleet.lines(fleet.whole({"a": report}))


def test_a_healthy_thing_says_one_sentence() -> None:
    report = examine([kettles(1)], context())
    assert report.is_healthy
    assert list(lines(report, "here")) == ["here: healthy; 1 l"]


def test_what_is_wrong_comes_with_its_cause_and_what_to_type_the_worst_first() -> None:
    report = examine([kettles(3, 0, 1)], context())
    assert list(lines(report, "here")) == [
        "error: k1: 0 l in kettle 1",
        "  cause: nobody filled it (in the kitchen)",
        "  fix:   fill kettle 1",
        "warning: k0: 3 l in kettle 0",
        "  cause: a hole",
        "  fix:   mend it",
    ]


def test_a_check_that_cannot_be_made_says_so_and_does_not_pass() -> None:
    report = examine([kettles(Unknown("it is in the cellar"))], context())
    assert not report.is_healthy
    assert list(lines(report, "here")) == [
        "not checked of k0: dry",
        "  cause: it is in the cellar",
    ]


def test_a_look_that_fails_passes_none_of_its_checks() -> None:
    def look(context: Context) -> Iterator[Subject[Kettle]]:
        raise OSError(2, "no kitchen")

    report = examine([replace(kettles(), look=look), kettles(1)], context())
    (unchecked,) = report.unchecked
    assert unchecked.checks == ("leaking", "dry")
    assert unchecked.why.startswith("no kitchen (test_doctor.py line ")


def test_a_check_that_fails_does_not_pass_either() -> None:
    broken = replace(CHECKS[0], find=lambda kettle: [{}])  # without the words of its sentences
    report = examine([replace(kettles(1), checks=(broken,))], context())
    assert report.unchecked[0].why.startswith("the doctor itself fails: KeyError in table.py line ")


def test_a_report_goes_through_json() -> None:
    report = examine([kettles(3, 0, Unknown("cellar"))], context())
    assert Report.of(json.loads(json.dumps(report.document()))) == report


def test_what_a_machine_should_be_goes_through_json() -> None:
    one = wanted(services=(service(),), routes=(route(),))
    assert Wanted.of(json.loads(json.dumps(one.document()))) == one


def test_what_a_newer_homeport_knows_besides_is_left_out() -> None:
    document = wanted(services=(service(),)).document()
    document["colour"] = document["services"][0]["colour"] = "blue"
    assert Wanted.of(document) == wanted(services=(service(),))


def service(**more: Any) -> Service:
    given: dict[str, Any] = {
        **{"name": "homeport.claude-glm", "alias": "claude-glm", "engine": "vllm"},
        **{"definition": "/etc/systemd/system/x", "url": "http://glm:8000", "bind": "0.0.0.0"},
        **{"port": 8000, "context": 262_144, "max_output": 20_000},
        **{"start": "sudo systemctl restart x", "logs": "sudo journalctl -u x"},
        "weights": Weights("/w", "zai-org/GLM", "a" * 40, "d", 5),
        "names": ("claude-haiku-4-5",),
        **more,
    }
    return Service(**given)


def route() -> Route:
    given: dict[str, Any] = {
        **{"alias": "claude-glm", "name": "claude-glm", "url": "http://glm:8000"},
        **{"file": "/r/claude-glm.json", "token": "/r/claude-glm.token"},
        **{"command": "use-glm.sh", "engine": "vllm"},
        **{"context": 262_144, "max_output": 20_000, "served": False},
    }
    return Route(**given)


# A fleet


def fleet_of(**hosts: Any) -> fleet.Whole:
    return fleet.whole({name: examine([kettles(*w)], context()) for name, w in hosts.items()})


def test_a_healthy_fleet_is_a_line_a_host_and_nothing_else() -> None:
    whole = fleet_of(a=[1], b=[2])
    assert whole.is_healthy
    assert list(fleet.lines(whole)) == ["a: healthy; 1 l", "b: healthy; 2 l"]


def test_a_fleet_is_grouped_by_cause_and_the_worst_comes_first() -> None:
    whole = fleet_of(a=[3], b=[3], c=[0], d=[1], e=[Unknown("cellar")])
    assert not whole.is_healthy
    assert list(fleet.lines(whole)) == [
        "d: healthy; 1 l",
        "error: c: k0: 0 l in kettle 0",
        "  cause: nobody filled it (in the kitchen)",
        "  fix:   fill kettle 0",
        "warning: 2 hosts: k0: 3 l in kettle 0",
        "  cause: a hole",
        "  fix:   mend it",
        "  hosts: a, b",
        "not checked of k0 on e: dry",
        "  cause: cellar",
    ]


def test_a_host_that_nobody_reached_is_no_healthy_one() -> None:
    whole = fleet.whole({"a": fleet.not_seen("Could not connect", reached=False)})
    assert not whole.is_healthy
    assert list(fleet.lines(whole)) == [
        "error: a: not reached",
        "  cause: it is asleep or away, or does not let us in (Could not connect)",
        "  fix:   wake it, or what that line says; then the same command with --limit a",
    ]


def test_hosts_that_were_not_looked_at_have_each_its_own_reason() -> None:
    reasons = {"b": "sudo asks for a password", "c": "it took more than 60 s"}
    whole = fleet.whole({name: fleet.not_seen(why, True) for name, why in reasons.items()})
    said = list(fleet.lines(whole))
    assert said[0] == "error: 2 hosts: not looked at"
    assert said[-2:] == ["  b: sudo asks for a password", "  c: it took more than 60 s"]


def test_a_command_for_one_host_is_not_given_for_others() -> None:
    def taken(pid: int) -> Report:
        return Report(
            (Finding("a", True, "", f"process {pid}", "c", f"kill {pid}"),), (), (), {}, 0
        )

    assert list(fleet.lines(fleet.whole({"gpu1": taken(1234), "gpu2": taken(77)}))) == [
        "warning: 2 hosts: c",
        "  cause: c",
        "  hosts: gpu1, gpu2",
        "  gpu1: process 1234; kill 1234",
        "  gpu2: process 77; kill 77",
    ]


def test_versions_that_differ_are_found() -> None:
    def at(version: str) -> Report:
        return Report((), (), (), {"claude-glm": {"engine": version, "context": version}}, 0)

    whole = fleet.whole({"a": at("vllm 1"), "b": at("vllm 1"), "c": at("vllm 2")})
    (group,) = whole.groups
    assert list(group.found) == ["c"]
    assert group.first.symptom == ("the engine of claude-glm differs: vllm 1 on a, b, vllm 2 on c")
    assert "  fix:   pyinfra inventory/prod.py deploy.py --limit c" in fleet.lines(whole)
    said = list(fleet.lines(whole, ".venv/bin/pyinfra ours.py", {"c": ("b", "c")}))
    assert "  fix:   .venv/bin/pyinfra ours.py deploy.py --limit c --limit b" in said
    assert fleet.whole({"a": at("vllm 1"), "b": at("vllm 1")}).is_healthy
    assert fleet.whole({"a": at("llama.cpp b2"), "b": at("llama.cpp b1")}).is_healthy
    assert fleet.whole({"a": at("vllm 1"), "b": at("")}).is_healthy


def test_a_server_that_answers_at_home_has_something_in_between() -> None:
    refused = Finding("refused", False, "claude-glm", "nothing listens", "it is not started", "ask")
    desk = Report((refused,), (), (), {}, 0)
    gpu = Report((), (), (), {"claude-glm": {"engine": "vllm 1"}}, 0)
    (group,) = fleet.whole({"desk": desk, "gpu": gpu}).groups
    assert group.first.cause.startswith("its server answers on gpu itself: a firewall")
    crashed = replace(gpu, findings=(replace(refused, check="server-crashed"),))
    causes = [one.first.cause for one in fleet.whole({"desk": desk, "gpu": crashed}).groups]
    assert causes == ["it is not started"] * 2


# Drift


def noted(directory: Path, **more: Any) -> Context:
    """A machine as a deploy left it."""
    (directory / "state").mkdir(parents=True)
    (directory / "bin").mkdir()
    script = directory / "bin" / "use-glm.sh"
    script.write_text("echo")
    script.chmod(0o755)
    digest = hashlib.sha256(b"echo").hexdigest()
    document = {
        "wanted": wanted(directory, services=(service(),)).document(),
        "files": {str(script): ["755", digest]},
    }
    (directory / drift.NOTED).write_text(json.dumps(document))
    return context(directory, **{"services": (service(),), **more})


def names(report: Report) -> list[str]:
    assert report.unchecked == ()
    return [one.check for one in report.findings]


def test_what_a_deploy_left_has_not_drifted(tmp_path: Path) -> None:
    report = examine([drift.AREA], noted(tmp_path / "h"))
    assert report.is_healthy
    assert report.facts == {"": {"homeport": "0.1.0"}}


def test_a_machine_without_a_deploy_is_found(tmp_path: Path) -> None:
    assert names(examine([drift.AREA], context(tmp_path))) == ["not-deployed"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: path.write_text("changed"), "changed since the last deploy"),
        (lambda path: path.unlink(), "gone since the last deploy"),
        (lambda path: path.chmod(0o777), "of another mode since"),
    ],
)
def test_what_somebody_changed_is_found(tmp_path: Path, change: Any, said: str) -> None:
    asked = noted(tmp_path / "h")
    change(tmp_path / "h/bin/use-glm.sh")
    report = examine([drift.AREA], asked)
    assert names(report) == ["file-changed"]
    assert said in report.findings[0].symptom


def test_what_the_next_deploy_would_change_is_said(tmp_path: Path) -> None:
    asked = noted(tmp_path / "h", services=(service(context=131_072),), client="2.1.330")
    report = examine([drift.AREA], asked)
    assert names(report) == ["deploy-due"]
    assert report.findings[0].symptom == (
        "deploy.py would change: claude-glm: context 262144 -> 131072; client (none) -> 2.1.330"
    )


def test_a_change_that_is_in_no_document_is_found_by_its_digest(tmp_path: Path) -> None:
    report = examine([drift.AREA], noted(tmp_path / "h", deployed="another"))
    assert names(report) == ["deploy-due"]
    assert report.findings[0].symptom.endswith("homeport's own programs and templates")


def test_what_settings_json_lost_is_found(tmp_path: Path) -> None:
    asked = noted(tmp_path / "h")
    settings = tmp_path / "settings.json"
    added = [
        {"path": ["permissions"], "kind": "object", "value": None},
        {"path": ["permissions", "deny"], "kind": "list", "value": None},
        {"path": ["permissions", "deny"], "kind": "item", "value": "WebSearch"},
    ]
    record = {"path": str(settings), "created": False, "additions": added}
    (tmp_path / "h/state/settings.json.record").write_text(json.dumps(record))
    settings.write_text('{"permissions": {"deny": ["WebSearch"]}}')
    assert names(examine([drift.AREA], asked)) == []
    settings.write_text('{"permissions": {"deny": "none"}}')  # the user's own
    assert names(examine([drift.AREA], asked)) == ["settings-lost"]
    settings.write_text('{"permissions": {"deny": []}}')
    report = examine([drift.AREA], asked)
    assert names(report) == ["settings-lost"]
    assert report.findings[0].symptom == "~/.claude/settings.json has no longer permissions.deny"
    settings.write_text("{")
    assert examine([drift.AREA], asked).unchecked[0].checks == ("settings-lost",)


# What it is made of


def test_each_check_has_a_name_of_its_own() -> None:
    names = [check.name for check in EVERY]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("check", EVERY, ids=lambda check: check.name)
def test_each_check_is_told_in_whole(check: Check[Any]) -> None:
    assert check.heading in HEADINGS
    for text in (check.symptom, check.cause, check.fix, check.source):
        assert text.strip() == text != ""
        assert not text.endswith(".")


def test_the_readme_has_every_check() -> None:
    readme = (ROOT / "README.md").read_text()
    assert troubleshooting.written(readme) == readme, "type: make readme"


def test_it_needs_nothing_but_python_3_9() -> None:
    own = ("homeport",)
    for path in doctoring.modules():
        tree = ast.parse(path.read_text(), feature_version=(3, 9))
        for node in ast.walk(tree):
            found = []
            if isinstance(node, ast.Import):
                found = [alias.name.split(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found = [(node.module or "").split(".")[0]]
            for name in found:
                allowed = name in sys.stdlib_module_names or name in own
                # pull.py's own, which it imports where it pulls.
                assert allowed or path.name == "pull.py", f"{path}: {name}"


def test_the_program_is_the_same_for_the_same_modules() -> None:
    first = doctoring.program()
    doctoring.program.cache_clear()
    assert doctoring.program() == first


def test_the_fleet_is_answered_without_a_file(tmp_path: Path) -> None:
    question = {"wanted": wanted(tmp_path).document(), "deep": False, "asked_at": 0.0}
    given = {"program": base64.b64encode(doctoring.program()).decode(), "question": question}
    done = subprocess.run(
        words(sys.executable, "run_zip.py"),
        input=json.dumps(given),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert done.stderr == ""
    report = Report.of(json.loads(done.stdout.splitlines()[-1]))
    assert "not-deployed" in [one.check for one in report.findings]
    assert list(tmp_path.iterdir()) == []


def test_without_a_deploy_the_command_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([], tmp_path / "doctor.json") == 1
    assert "Run the deploy again" in capsys.readouterr().err
