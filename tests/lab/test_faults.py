"""What goes wrong between two machines: the run says so, the next one puts it right."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..running import Running, wait_until
from .base import PASSWORD
from .host import Host
from .lab import Lab
from .routes import CLUSTER, SMALL, UNIT, UNIT_FILE

#: Seconds until these runs give up a connection that nothing comes back from.
DEAD_AFTER = 8


@pytest.fixture(scope="module")
def desks(lab: Lab) -> Iterator[tuple[Host, Host]]:
    first, second = lab.boot("desk-1", "desk-2")
    with lab.using("transport.py", DEAD_AFTER=DEAD_AFTER):
        yield first, second


@pytest.fixture
def fleet(lab: Lab, desks: tuple[Host, Host]) -> Iterator[Path]:
    """Two workstations without anything of homeport's."""
    inventory = lab.inventory({"workstations": list(desks)}, routes=CLUSTER)
    yield inventory
    for desk in desks:
        desk.heal()
    assert lab.remove(inventory).status == 0


def test_a_host_that_is_away(lab: Lab, desks: tuple[Host, Host], fleet: Path) -> None:
    """The other one is done, the status is an error, and the last line says which and why."""
    desks[1].cut()
    run = lab.deploy(fleet)
    assert run.status == 1
    assert run.of("desk-1")[0] == "14 changes made"
    (line,) = run.of("desk-2")
    assert re.match(r"not reached: Could not connect \(.*\). To see why: ssh -i \S+ anna@10", line)
    desks[1].heal()
    run = lab.deploy(fleet)
    assert (run.of("desk-1")[0], run.of("desk-2")[0]) == ("no changes", "14 changes made")


def test_every_host_is_away(lab: Lab, desks: tuple[Host, Host], fleet: Path) -> None:
    for desk in desks:
        desk.cut()
    run = lab.deploy(fleet)
    assert run.status == 1
    assert run.output.count("not reached: ") == 2
    assert "Traceback" not in run.output


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        ("Loading: deploy.py", "nothing was changed"),
        ("Write the settings of claude-glm", "the next run takes it from there"),
        ("Merge ~/.claude", "the next run takes it from there"),
    ],
)
def test_a_cable_pulled_out_in_the_middle(
    lab: Lab, desks: tuple[Host, Host], fleet: Path, moment: str, end: str
) -> None:
    """The run ends by itself and does the other host; after the healing the next completes it."""
    running = lab.start(fleet)
    running.wait_for(moment)
    desks[1].cut()
    cut = time.monotonic()
    run = running.wait()
    assert time.monotonic() - cut < 60 + DEAD_AFTER, "the other host's part, and this"
    assert run.status == 1
    assert run.of("desk-1")[0] == "14 changes made"
    assert run.of("desk-2")[0] == f"the connection was lost; {end}"
    assert "Traceback" not in run.output
    desks[1].heal()
    again = lab.deploy(fleet)
    assert again.status == 0, again.output
    assert again.of("desk-1")[0] == "no changes"
    assert "made" in again.of("desk-2")[0]
    assert leftovers(desks[1]) == []
    assert lab.deploy(fleet).of("desk-2")[0] == "no changes"


def test_a_cable_pulled_out_while_somebody_reads_the_plan(
    lab: Lab, desks: tuple[Host, Host], fleet: Path
) -> None:
    """As with a laptop that goes to sleep before the question is answered."""
    running = lab.start(fleet, terminal=True)
    running.wait_for("Press enter to execute...")
    desks[1].cut()
    time.sleep(DEAD_AFTER + 5)
    running.type("\n")
    run = running.wait()
    assert run.status == 1
    assert run.of("desk-1")[0] == "14 changes made"
    assert run.of("desk-2")[0] == "the connection was lost; nothing was changed"
    assert "Traceback" not in run.output


def test_the_power_goes_in_the_middle(lab: Lab, desks: tuple[Host, Host], fleet: Path) -> None:
    running = lab.start(fleet)
    running.wait_for("Write the settings of claude-glm")
    desks[1].kill()
    run = running.wait()
    assert run.status == 1
    assert run.of("desk-1")[0] == "14 changes made"
    desks[1].boot_again()
    assert lab.deploy(fleet).status == 0
    assert leftovers(desks[1]) == []
    assert lab.deploy(fleet).of("desk-2")[0] == "no changes"


def test_ctrl_c_in_the_middle(lab: Lab, desks: tuple[Host, Host], fleet: Path) -> None:
    running = lab.start(fleet)
    running.wait_for("Write the settings of claude-glm")
    running.process.send_signal(signal.SIGINT)
    run = running.wait()
    assert run.status == 130
    assert run.of("desk-1") == ["interrupted; the next run takes it from there"]
    assert "Traceback" not in run.output
    assert lab.deploy(fleet).status == 0
    assert lab.deploy(fleet).of("desk-1")[0] == "no changes"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        ("chmod 600 {file} && chown root {file}", "{file} cannot be read (sh: "),
        ("chown root {folder}", "{folder} is not yours to write in. Type: sudo chown anna "),
        ("chmod 500 /home/anna", "/home/anna is not yours to write in. Type: sudo chown anna "),
    ],
)
def test_what_is_the_users_and_closed_to_the_user(
    lab: Lab, desks: tuple[Host, Host], fleet: Path, spoil: str, sentence: str
) -> None:
    """Found before anything is changed; the other host is done."""
    names = {"file": "/home/anna/.claude/settings.json", "folder": "/home/anna/.claude"}
    desks[0].write(names["file"], '{"model": "opus"}\n', "anna")
    desks[0].run(spoil.format(**names))
    before = desks[0].tree()
    run = lab.deploy(fleet)
    assert run.status == 1
    assert run.of("desk-1")[0] == "nothing was changed"
    assert run.of("desk-1")[1].startswith(sentence.format(**names))
    assert run.of("desk-2")[0].endswith("changes made")
    assert desks[0].difference(before) == {}
    desks[0].run("chmod 700 /home/anna && rm -r /home/anna/.claude")


def leftovers(host: Host) -> list[str]:
    """Files that a write which did not end left anywhere."""
    return [path for path in host.tree() if ".homeport-new-" in path]


def test_a_wrong_sudo_password(lab: Lab, desks: tuple[Host, Host], fleet: Path) -> None:
    inventory = lab.inventory(
        {"workstations": [desks[0]]}, name="wrong", routes=CLUSTER, _sudo=True, _sudo_password="x"
    )
    before = desks[0].tree()
    run = lab.deploy(inventory)
    assert run.status == 1
    assert "sudo: 3 incorrect password attempts" in run.output
    assert "this host could not be looked at, its lines above say why. Nothing was" in run.output
    assert "Traceback" not in run.output
    assert {p for p in desks[0].difference(before) if not p.startswith("var/lib/sudo")} == set()


def test_a_sudo_password_that_nobody_can_type(
    lab: Lab, desks: tuple[Host, Host], fleet: Path
) -> None:
    inventory = lab.inventory(
        {"workstations": [desks[0]]}, name="nobody", routes=CLUSTER, _sudo=True
    )
    run = lab.deploy(inventory)
    assert run.status == 1
    assert "sudo asks for a password here. Type it at a terminal, or set _sudo_pass" in run.output
    assert "Traceback" not in run.output


def test_the_right_sudo_password_is_shown_nowhere(lab: Lab, desks: tuple[Host, Host]) -> None:
    inventory = lab.inventory(
        {"workstations": [desks[0]]},
        name="right",
        routes=CLUSTER,
        _sudo=True,
        _sudo_password=PASSWORD,
    )
    run = lab.deploy(inventory, "-vvv", "--diff")
    assert run.status == 0, run.output
    assert desks[0].file("/root/.homeport/bin/use-glm.sh").exists(), "it acts as root"
    assert PASSWORD not in run.output
    assert lab.remove(inventory).status == 0
    assert "pyinfra" not in desks[0].run("ls -A /tmp")


@pytest.fixture(scope="module")
def small(lab: Lab) -> Host:
    return lab.host("small", disk="64M")


def test_a_full_disk_is_found_before_anything_is_changed(lab: Lab, small: Host) -> None:
    inventory = lab.inventory({"workstations": [small]}, name="full", routes=CLUSTER)
    before = small.tree()
    small.fill_disk(leave=100_000)
    run = lab.deploy(inventory)
    small.free_disk()
    assert run.status == 1
    assert re.search(r"the disk of /home/anna/.homeport is full: \d+ kB are free. See", run.output)
    assert small.difference(before) == {}


def test_a_disk_that_fills_up_in_the_middle(lab: Lab, small: Host) -> None:
    """Nothing that was there is damaged, no half of a file stays, and the next run completes it."""
    inventory = lab.inventory({"workstations": [small]}, name="full", routes=CLUSTER)
    small.write("/home/anna/.claude/settings.json", '{"model": "opus"}\n', "anna")
    running = lab.start(inventory)
    running.wait_for("Write the token of claude-glm")
    small.fill_disk()
    run = running.wait()
    assert run.status == 1
    said = r"homeport: \S+ was not written, there is no room for it. See: df -h /home/anna/\S+"
    assert re.search(said, run.output), run.output
    assert "Traceback" not in run.output
    assert small.file("/home/anna/.claude/settings.json").read_text() == '{"model": "opus"}\n'
    assert leftovers(small) == []
    small.free_disk()
    again = lab.deploy(inventory)
    assert again.status == 0, again.output
    assert lab.deploy(inventory).of("small")[0] == "no changes"


@pytest.fixture(scope="module")
def laptop(lab: Lab) -> Host:
    return lab.host("laptop")


def on(lab: Lab, laptop: Host, port: int) -> Path:
    routes = {"claude-fable5": {**SMALL["claude-fable5"], "port": port}}
    return lab.inventory({"laptops": [laptop]}, name=f"on-{port}", routes=routes)


@pytest.fixture
def patience(lab: Lab) -> Iterator[None]:
    """Runs wait for another one for longer than a busy machine needs to install an engine."""
    with lab.using("operations/lock.py", WAIT=600):
        yield


@pytest.mark.usefixtures("patience")
def test_two_runs_at_once(lab: Lab, laptop: Host) -> None:
    """The second waits, says for whom, and has nothing left to do."""
    inventory = on(lab, laptop, 18080)
    first = lab.start(inventory)
    first.wait_for("Install the engine")
    second = lab.start(inventory)
    second.wait_for("waits for another run of homeport (root at ")
    assert first.process.poll() is None
    assert first.wait().of("laptop")[0].endswith("changes made")
    run = second.wait()
    assert run.status == 0, run.output
    assert run.of("laptop")[0] == "no changes"


def test_a_run_that_lasts_too_long_to_wait_for(lab: Lab, laptop: Host) -> None:
    """The second one stops after a while, and says what to do."""
    inventory = on(lab, laptop, 18080)
    before = laptop.tree()
    hold = "import fcntl, os, time; fcntl.flock(os.open('/home/anna', 0), 2); time.sleep(300)"
    laptop.run(f'nohup python3 -c "{hold}" >/dev/null 2>&1 & echo $! > /run/holder')
    with lab.using("operations/lock.py", WAIT=3):
        run = lab.deploy(inventory)
    laptop.run("kill $(cat /run/holder)")
    assert run.status == 1
    assert "another run of homeport is at work here. When that has ended, run this" in run.output
    assert run.of("laptop")[0] == "nothing was changed"
    assert laptop.difference(before) == {}


@pytest.mark.usefixtures("patience")
def test_a_removal_that_starts_while_a_deploy_is_at_work(lab: Lab, laptop: Host) -> None:
    """It removes what was not there yet when it looked at the host first."""
    inventory = on(lab, laptop, 18080)
    assert lab.remove(inventory).status == 0
    before = laptop.tree()
    deploy = lab.start(inventory)
    deploy.wait_for("Install the engine")
    removal = lab.start(inventory, script="remove.py")
    removal.wait_for("waits for another run of homeport (root at ")
    assert deploy.wait().status == 0
    assert removal.wait().status == 0
    assert laptop.difference(before) == {}
    assert laptop.service(UNIT, user="anna").active == "inactive"
    assert lab.deploy(inventory).status == 0


def test_killed_between_definition_and_restart(lab: Lab, laptop: Host) -> None:
    """The next run sees by the running process that it is not what it should be."""
    definition = laptop.file(UNIT_FILE)
    for port in range(18090, 18095):  # a busy machine may miss the moment
        pid = laptop.service(UNIT, user="anna").pid
        moved = on(lab, laptop, port)
        running = lab.start(moved)
        watch(running, lambda port=port: str(port) in definition.read_text())
        running.kill()
        if laptop.service(UNIT, user="anna").pid == pid:
            break
    assert str(port) in definition.read_text()
    assert laptop.service(UNIT, user="anna").pid == pid, "it was restarted before each kill"
    run = lab.deploy(moved)
    assert run.status == 0, run.output
    assert f"answers at http://127.0.0.1:{port}" in run.of("laptop")[1]
    assert laptop.service(UNIT, user="anna").pid not in (None, pid)
    assert lab.deploy(moved).of("laptop")[0] == "no changes"


def test_killed_while_the_engine_is_installed(lab: Lab, laptop: Host) -> None:
    """pip goes on, on the host; the next run waits for it, and the engine is whole."""
    inventory = on(lab, laptop, 18080)
    assert lab.remove(inventory).status == 0
    running = lab.start(inventory)
    watch(running, lambda: any(laptop.file("/home/anna/.homeport/env").glob("*/lib/*/*/pip")))
    running.kill()
    assert laptop.run("pgrep -f 'm [p]ip install'", check=False), "pip was to go on meanwhile"
    run = lab.deploy(inventory)
    assert run.status == 0, run.output
    assert run.of("laptop")[1].startswith("claude-fable5 (SmolLM2")
    assert lab.deploy(inventory).of("laptop")[0] == "no changes"


def test_removed_right_after_a_kill(lab: Lab, laptop: Host) -> None:
    inventory = on(lab, laptop, 18080)
    assert lab.remove(inventory).status == 0
    before = laptop.tree()
    running = lab.start(inventory)
    watch(running, lambda: any(laptop.file("/home/anna/.homeport/env").glob("*/lib/*/*/pip")))
    running.kill()
    assert lab.remove(inventory).status == 0
    wait_until(lambda: not laptop.run("pgrep -f 'm [p]ip install'", check=False))
    assert laptop.difference(before) == {}


def watch(running: Running, condition: object) -> None:
    """Wait for a moment that lasts some milliseconds only."""
    assert callable(condition)
    deadline = time.monotonic() + 400
    while not condition():
        assert running.process.poll() is None and time.monotonic() < deadline, running.output
        time.sleep(0.002)
