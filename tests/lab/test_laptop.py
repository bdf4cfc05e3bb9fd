"""A laptop with systemd, from its first deploy to its removal: in this order."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator

import pytest

from ..running import Run, wait_until
from .host import Host
from .lab import Lab
from .routes import SMALL, UNIT, UNIT_FILE

DIRECTORY = "/home/anna/.homeport"

ANSWERS = "claude-fable5 (SmolLM2 135M (try-out), 8,192 tokens) answers at http://127.0.0.1:18080"


class Laptop:
    """The host, as it was before, and its first run."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.host = lab, lab.host(name)
        self.host.write("/home/anna/.zshrc", "setopt NO_BEEP\n", "anna")
        groups = {"laptops": [self.host], "workstations": [self.host]}
        self.inventory = lab.inventory(
            groups, name=f"with-{name}", routes=SMALL, engine="xllamacpp"
        )
        self.before = self.host.tree()
        self.first = self.deploy()
        self.after = self.host.tree()

    def deploy(self) -> Run:
        return self.lab.deploy(self.inventory)

    @property
    def pid(self) -> int | None:
        return self.host.service(UNIT, user="anna").pid

    def ask(self) -> str:
        """What the model answers, or curl's error, asked on the laptop."""
        body = {
            "model": "claude-fable5",
            "max_tokens": 32,
            "messages": [{"role": "user", "content": "Name the capital of France."}],
        }
        url = "http://127.0.0.1:18080/v1/messages"
        return self.host.run(
            f"curl --silent --show-error {url} -d {shlex.quote(json.dumps(body))}", check=False
        )


@pytest.fixture(scope="module")
def laptop(lab: Lab) -> Laptop:
    return Laptop(lab, "laptop")


def test_the_first_run_ends_with_an_answer(laptop: Laptop) -> None:
    assert laptop.first.status == 0, laptop.first.output
    assert laptop.first.of("laptop")[1].startswith(ANSWERS)
    assert "Paris" in laptop.ask()
    service = laptop.host.service(UNIT, user="anna")
    assert (service.active, service.enabled) == ("active", "enabled")


def test_the_server_listens_on_loopback_only(laptop: Laptop) -> None:
    listening = laptop.host.run("ss -Hltn").splitlines()
    addresses = {line.split()[3] for line in listening if "18080" in line}
    assert addresses == {"127.0.0.1:18080"}


def test_the_server_steps_back_for_what_the_user_does(laptop: Laptop) -> None:
    assert laptop.host.run(f"ps -o ni= -p {laptop.pid}").strip() == "5"
    assert laptop.host.run(f"cat /proc/{laptop.pid}/oom_score_adj").strip() == "500"


def test_a_second_run_changes_nothing_and_restarts_nothing(laptop: Laptop) -> None:
    pid = laptop.pid
    run = laptop.deploy()
    assert run.status == 0
    assert run.of("laptop")[0] == "no changes"
    assert laptop.pid == pid
    assert laptop.host.difference(laptop.after) == {}


def unit_edited(host: Host) -> None:
    file = host.file(UNIT_FILE)
    file.write_text(file.read_text().replace("18080", "18081"))
    host.run("systemctl --user daemon-reload", user="anna")


def unit_deleted(host: Host) -> None:
    host.file(UNIT_FILE).unlink()


def unit_deleted_and_forgotten(host: Host) -> None:
    host.file(UNIT_FILE).unlink()
    host.run("systemctl --user daemon-reload", user="anna")


def service_disabled(host: Host) -> None:
    host.run(f"systemctl --user --quiet disable {UNIT}", user="anna")


def service_stopped(host: Host) -> None:
    host.run(f"systemctl --user stop {UNIT}", user="anna")


def service_masked_by_runtime_drop_in(host: Host) -> None:
    host.run(f"systemctl --user stop {UNIT}; systemctl --user reset-failed", user="anna")
    host.run(f"systemctl --user --quiet disable {UNIT}", user="anna")


def program_deleted(host: Host) -> None:
    host.file(f"{DIRECTORY}/lib/serve_llama.py").unlink()


def lingering_ended(host: Host) -> None:
    host.run("loginctl disable-linger anna")


def engine_broken(host: Host) -> None:
    """The server stops, and cannot start again: its environment lost files, and its mark."""
    host.run(f"systemctl --user stop {UNIT}", user="anna")
    host.run("rm -rf .homeport/env/*/lib .homeport/env/*/complete", user="anna")


@pytest.mark.parametrize(
    ("drift", "restarts"),
    [
        (unit_edited, False),
        (unit_deleted, False),
        (unit_deleted_and_forgotten, False),
        (service_disabled, False),
        (program_deleted, False),
        (lingering_ended, False),
        (service_stopped, True),
        (service_masked_by_runtime_drop_in, True),
        (engine_broken, True),
    ],
)
def test_drift_is_repaired(laptop: Laptop, drift: Callable[[Host], None], restarts: bool) -> None:
    pid = laptop.pid
    drift(laptop.host)
    run = laptop.deploy()
    assert run.status == 0, run.output
    assert "made" in run.of("laptop")[0]
    assert run.of("laptop")[1].startswith(ANSWERS)
    assert (laptop.pid != pid) == restarts
    assert {p for p in laptop.host.difference(laptop.after) if "__pycache__" not in p} == set()


def test_a_killed_server_comes_back_by_itself(laptop: Laptop) -> None:
    pid = laptop.pid
    laptop.host.run(f"systemctl --user kill --signal=KILL {UNIT}", user="anna")
    wait_until(lambda: laptop.pid not in (None, pid))
    assert laptop.deploy().of("laptop")[0] == "no changes"


def test_it_serves_after_a_reboot_without_a_login(laptop: Laptop) -> None:
    laptop.host.reboot()
    wait_until(lambda: laptop.pid)
    wait_until(lambda: "Paris" in laptop.ask())
    assert laptop.deploy().of("laptop")[0] == "no changes"


def test_it_serves_after_the_power_was_cut(laptop: Laptop) -> None:
    laptop.host.kill()
    laptop.host.boot_again()
    wait_until(lambda: "Paris" in laptop.ask())
    assert laptop.deploy().of("laptop")[0] == "no changes"


def test_removal_leaves_no_trace(laptop: Laptop) -> None:
    run = laptop.lab.remove(laptop.inventory)
    assert run.status == 0, run.output
    assert run.of("laptop")[-1] == "nothing of homeport is left"
    assert laptop.host.difference(laptop.before) == {}
    known = laptop.host.run("systemctl --user list-units --all --no-legend", user="anna")
    assert "homeport" not in known
    assert laptop.host.run("pgrep -fa '[s]erve_llama'", check=False) == ""
    assert laptop.host.run("loginctl show-user anna -p Linger --value").strip() == "no"


def test_removal_again_has_nothing_to_do(laptop: Laptop) -> None:
    assert laptop.lab.remove(laptop.inventory).of("laptop")[0] == "no changes"


@pytest.fixture
def without_polkit(laptop: Laptop) -> Iterator[Host]:
    """As on a server that never had it: nobody whom logind could ask."""
    service = "/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service"
    laptop.host.run(f"mv {service} /root/ && systemctl stop polkit && systemctl reload dbus")
    yield laptop.host
    laptop.host.run(f"mv /root/{service.rpartition('/')[2]} {service} && systemctl reload dbus")


def test_lingering_that_only_root_can_grant(laptop: Laptop, without_polkit: Host) -> None:
    """The one command that the sentence names is enough, and belongs to root afterwards."""
    before = without_polkit.tree()
    run = laptop.deploy()
    assert run.status == 1
    assert "logind lets nobody linger. Type: sudo loginctl enable-linger anna" in run.output
    assert without_polkit.difference(before) == {}
    without_polkit.run("loginctl enable-linger anna")
    assert laptop.deploy().of("laptop")[1].startswith(ANSWERS)
    laptop.lab.remove(laptop.inventory)
    lingers = without_polkit.run("loginctl show-user anna -p Linger --value").strip()
    assert lingers == "yes", "homeport did not turn it on"
    without_polkit.run("loginctl disable-linger anna")
