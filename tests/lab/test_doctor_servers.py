"""What the doctor says of a laptop's server that is broken in one way after the other."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ..running import wait_until
from .host import Host
from .lab import Lab
from .routes import SMALL, UNIT, UNIT_FILE

DOCTOR = "~/.homeport/bin/homeport-doctor"


class Laptop:
    """The host, deployed once; every breakage is undone."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.host: Host = lab.host("laptop")
        self.inventory = lab.inventory(
            {"laptops": [self.host], "workstations": [self.host]}, routes=SMALL, engine="xllamacpp"
        )
        self.first = lab.deploy(self.inventory)
        self.unit = self.host.file(UNIT_FILE).read_text()

    def user(self, command: str, check: bool = True) -> str:
        return self.host.run(command, user="anna", check=check)

    def answers(self) -> bool:
        return "claude-fable5" in self.user(
            "curl -s --max-time 5 http://127.0.0.1:18080/v1/models", check=False
        )

    def doctor(self, *options: str) -> dict[str, Any]:
        said = self.user(f"{DOCTOR} --json {' '.join(options)}", check=False)
        report: dict[str, Any] = json.loads(said)
        return report

    def found(self) -> dict[str, dict[str, Any]]:
        """What it finds of the server, by the check; that it is late says what else this machine
        is doing."""
        of_server = [one for one in self.doctor()["findings"] if one["about"] == "claude-fable5"]
        return {one["check"]: one for one in of_server if one["check"] != "answers-late"}

    def only(self, check: str) -> dict[str, Any]:
        """What that check says, which has to be what says why nothing answers."""
        found = self.found()
        assert check in found, found
        why = {"service-missing", "service-masked", "service-stopped", "port-taken",
               "server-out-of-memory", "llama-cpp-too-old", "server-crashed", "waits-for-mains",
               "server-loading", "listens-elsewhere", "other-token", "server-hangs",
               "server-fails"}  # fmt: skip
        assert why & set(found) <= {check}
        return found[check]

    def restart(self) -> None:
        self.user(f"systemctl --user daemon-reload; systemctl --user reset-failed {UNIT}; "
                  f"systemctl --user restart {UNIT}", check=False)  # fmt: skip

    @contextmanager
    def unit_with(self, *changes: tuple[str, str], up: bool = True) -> Iterator[None]:
        """Its definition, changed so, and started; `up` waits until it answers."""
        file = self.host.file(UNIT_FILE)
        text = self.unit
        for old, new in changes:
            assert old in text, text
            text = text.replace(old, new)
        file.write_text(text)
        self.restart()
        if up:
            wait_until(self.answers)
        try:
            yield
        finally:
            file.write_text(self.unit)
            self.restart()
            wait_until(self.answers)


@pytest.fixture(scope="module")
def laptop(lab: Lab) -> Laptop:
    return Laptop(lab)


def test_a_healthy_laptop_says_one_line_and_that_soon(laptop: Laptop) -> None:
    assert laptop.first.status == 0, laptop.first.output
    report: dict[str, Any] = {}

    def is_healthy() -> bool:
        """Other tests run beside this one: it may be late once."""
        report.update(laptop.doctor())
        about = [one["about"] for one in (*report["findings"], *report["unchecked"])]
        return "claude-fable5" not in about and report["seconds"] < 3

    wait_until(is_healthy)
    (said,) = [one for one in report["healthy"] if one.startswith("claude-fable5 answers at")]
    assert said.startswith("claude-fable5 answers at http://127.0.0.1:18080 in ")
    facts = report["facts"]["claude-fable5"]
    assert facts["context"] == "8192"
    assert facts["engine"].startswith("llama.cpp b")


def test_it_changes_nothing(laptop: Laptop) -> None:
    laptop.host.run("touch /tmp/before; sleep 0.1")
    laptop.doctor()
    seen = "-path /proc -o -path /sys -o -path /run -o -path /dev -o -path /var/log"
    changed = laptop.host.run(f"find / \\( {seen} \\) -prune -o -newer /tmp/before -print")
    assert changed == ""


def test_stopped(laptop: Laptop) -> None:
    laptop.user(f"systemctl --user stop {UNIT}")
    finding = laptop.only("service-stopped")
    assert finding["cause"] == "somebody stopped it"
    laptop.user(finding["fix"])  # and what it says to type works
    wait_until(laptop.answers)
    assert laptop.found() == {}


def test_disabled_and_stopped(laptop: Laptop) -> None:
    laptop.user(f"systemctl --user --quiet disable {UNIT}")
    assert "service-not-at-boot" in laptop.found()
    laptop.user(f"systemctl --user stop {UNIT}")
    finding = laptop.only("service-stopped")
    assert "disabled" in finding["cause"]
    laptop.user(finding["fix"])
    wait_until(laptop.answers)
    assert laptop.found() == {}


def test_masked(laptop: Laptop) -> None:
    laptop.user(f"systemctl --user stop {UNIT}")
    laptop.host.file(UNIT_FILE).unlink()
    laptop.user(f"systemctl --user --quiet mask {UNIT}")
    laptop.only("service-masked")
    laptop.user(f"systemctl --user --quiet unmask {UNIT}")
    laptop.only("service-missing")
    laptop.host.write(UNIT_FILE, laptop.unit, "anna")
    laptop.user(f"systemctl --user daemon-reload; systemctl --user --quiet enable --now {UNIT}")
    wait_until(laptop.answers)
    assert laptop.found() == {}


def test_lingering_ended(laptop: Laptop) -> None:
    laptop.host.run("rm /var/lib/systemd/linger/anna")
    assert list(laptop.found()) == ["service-ends-with-login"]
    laptop.host.run("touch /var/lib/systemd/linger/anna")


def test_a_crash_says_why(laptop: Laptop) -> None:
    with laptop.unit_with(('"--jinja"', '"--no-such-flag" "--jinja"'), up=False):
        wait_until(lambda: "server-crashed" in laptop.found())
        finding = laptop.only("server-crashed")
    assert "--no-such-flag" in finding["detail"]


def test_no_memory(laptop: Laptop) -> None:
    """The real llama.cpp, with less memory than its model takes."""
    limit = ("[Service]", "[Service]\nLimitAS=300M")
    with laptop.unit_with(limit, up=False):
        wait_until(lambda: "server-crashed" in laptop.found())
        finding = laptop.only("server-crashed")
    assert finding["cause"] == "there is not enough memory", finding
    assert "a smaller quant" in finding["fix"]


def test_a_damaged_model(laptop: Laptop) -> None:
    """llama.cpp's own words for an architecture that it does not know."""
    model = laptop.user("find ~/.homeport/env -name '*.gguf'").strip()
    new = "/home/anna/new.gguf"
    laptop.user(f"sed 's/general.architecture\\(.\\{{12\\}}\\)llama/general.architecture\\1glama/' "
                f"{shlex.quote(model)} > {new}")  # fmt: skip
    with laptop.unit_with((model, new), up=False):
        wait_until(lambda: set(laptop.found()) & {"llama-cpp-too-old", "server-crashed"})
        finding = laptop.only("llama-cpp-too-old")
    assert finding["cause"] == "this llama.cpp is too old for the model's architecture, glama"
    laptop.user(f"rm {new}")


def test_another_program_on_its_port(laptop: Laptop) -> None:
    laptop.user(f"systemctl --user stop {UNIT}")
    words = "python3 -m http.server 18080 --bind 127.0.0.1"
    laptop.host.run(f"systemd-run --quiet --unit=other {words}")
    wait_until(lambda: "18080" in laptop.host.run("ss -Hltn"))
    assert "a process of root" in laptop.only("port-taken")["detail"]
    laptop.restart()
    assert "a process of root" in laptop.only("port-taken")["detail"]
    laptop.host.run("systemctl stop other")
    wait_until(laptop.answers)


def test_halted(laptop: Laptop) -> None:
    laptop.user(f"systemctl --user kill --signal=STOP {UNIT}")
    finding = laptop.only("server-hangs")
    assert finding["cause"] == "somebody halted its process (SIGSTOP)"
    laptop.user(finding["fix"])
    wait_until(laptop.answers)


def test_on_battery(laptop: Laptop) -> None:
    """Not the supply of this machine: what serve.sh says and does is tested where it is run."""
    said = "echo 'homeport: waits for mains power (on_battery = False)'; exec sleep 600"
    script = "/home/anna/waits.sh"
    laptop.host.write(script, f"{said}\n", "anna")
    start = next(line for line in laptop.unit.splitlines() if line.startswith("ExecStart="))
    with laptop.unit_with((start, f"ExecStart=/bin/sh {script}"), up=False):
        wait_until(lambda: "waits-for-mains" in laptop.found())
        laptop.only("waits-for-mains")
    laptop.user(f"rm {script}")


def test_another_port(laptop: Laptop) -> None:
    with laptop.unit_with(('"--port" "18080"', '"--port" "18099"'), up=False):
        wait_until(lambda: "listens-elsewhere" in laptop.found())
        assert "listens on port 18099" in laptop.only("listens-elsewhere")["symptom"]


def test_another_name_context_and_address(laptop: Laptop) -> None:
    changes = (
        ('"--alias" "claude-fable5"', '"--alias" "claude-fabIe5"'),
        ('"--ctx-size" "8192"', '"--ctx-size" "4096"'),
        ('"--host" "127.0.0.1"', '"--host" "0.0.0.0"'),
    )
    with laptop.unit_with(*changes, up=False):
        wait_until(lambda: "name-similar" in laptop.found())
        found = laptop.found()
    assert {"name-similar", "context-smaller", "open-to-network"} <= set(found)
    said = found["name-similar"]["symptom"]
    assert '"I", U+0049 LATIN CAPITAL LETTER I where it is served' in said
    assert "holds 4,096 tokens" in found["context-smaller"]["symptom"]


def test_a_template_that_refuses_late_system_messages(laptop: Laptop) -> None:
    template = "/home/anna/strict.jinja"
    laptop.host.write(
        template,
        "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
        "{{ raise_exception('System message must be at the beginning') }}{% endif %}"
        "{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:",
        "anna",
    )
    change = ('"--jinja"', f'"--jinja" "--chat-template-file" "{template}"')
    with laptop.unit_with(change):
        finding = laptop.found()["late-system"]
    assert "System message must be at the beginning" in finding["detail"]
    laptop.user(f"rm {template}")


def test_another_token(laptop: Laptop) -> None:
    laptop.host.write("/home/anna/key", "anderes\n", "anna")
    change = ('"--jinja"', '"--jinja" "--api-key-file" "/home/anna/key"')
    with laptop.unit_with(change, up=False):
        wait_until(lambda: "other-token" in laptop.found())
        laptop.only("other-token")
    laptop.user("rm key")


def test_a_busy_server_is_left_alone(laptop: Laptop) -> None:
    """The user's own conversation is not put behind the doctor's questions."""
    story = [{"role": "user", "content": "Tell a long story of the sea. " * 40}]
    body = {"model": "claude-fable5", "max_tokens": 3000, "messages": story}
    laptop.host.write("/home/anna/body", json.dumps(body), "anna")
    ask = "curl -s http://127.0.0.1:18080/v1/messages -d @/home/anna/body -o /dev/null"
    laptop.user(f"systemd-run --user --quiet --unit=asks {ask}")
    wait_until(lambda: "requests_processing 1" in laptop.user(
        "curl -s http://127.0.0.1:18080/metrics"))  # fmt: skip
    report = laptop.doctor()
    laptop.user("systemctl --user stop asks; rm body", check=False)
    assert "claude-fable5" not in [one["about"] for one in report["unchecked"]]
    (said,) = [one for one in report["healthy"] if one.startswith("claude-fable5 ")]
    assert said.endswith(" (not tried: it is at work)")


def test_loading_says_how_far(laptop: Laptop) -> None:
    """A second or less here: asked until it is seen."""
    seen: dict[str, Any] = {}
    for _ in range(10):
        laptop.user(f"systemctl --user restart --no-block {UNIT}")
        seen = laptop.found().get("server-loading", seen)
        if seen:
            break
    assert "is still loading: " in seen["symptom"]
    wait_until(laptop.answers)
    assert laptop.found() == {}
