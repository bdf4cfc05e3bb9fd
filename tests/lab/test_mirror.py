"""A mirror, and hosts that pull from it, from bare ones to removal: in this order."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ..hub import Hub
from ..running import Run, wait_until
from .host import Host
from .lab import Lab
from .weights import GGUF, PULLED, REPO, ask, gguf, hub_on, pin

#: Who is root without a password there, as installing nginx needs.
USER = "ops"
DIRECTORY = f"/home/{USER}/.homeport"
MIRROR = {"host": "mirror", "port": 8880}
UNIT = "homeport.mirror.service"

#: What apt and dpkg keep for themselves.
PACKAGING = ("var/cache/apt", "var/cache/debconf", "var/lib/apt", "var/lib/dpkg")


class Fleet:
    """The hosts as they were before, and the first run over all of them."""

    def __init__(self, lab: Lab, hub: Hub) -> None:
        self.lab, self.hub = lab, hub
        self.mirror, self.laptop, self.one, self.two = lab.boot("mirror", "laptop", "one", "two")
        self.settings()
        self.groups = {
            "laptops": [self.laptop, self.one, self.two],
            "mirror": [self.mirror],
        }
        self.inventory = lab.inventory(self.groups, user=USER, routes=PULLED)
        self.commit = hub.commit(REPO, {"README.md": b"small\n", GGUF: gguf()})
        assert pin(lab).status == 0
        self.before = {host.name: host.tree() for host in self.hosts}
        self.packages = self.mirror.run("dpkg-query -W")

    @property
    def hosts(self) -> list[Host]:
        return [host for hosts in self.groups.values() for host in hosts]

    def settings(self, **mirror: object) -> None:
        ask(self.lab, self.hub.url, mirror={**MIRROR, **mirror})

    def deploy(self, *options: str) -> Run:
        return self.lab.deploy(self.inventory, *options)

    @property
    def token(self) -> str:
        return (self.lab.project / "secrets" / "mirror.token").read_text().strip()

    @property
    def pid(self) -> int | None:
        return self.mirror.service(UNIT, user=USER).pid

    def runs_anew(self, since: int | None) -> bool:
        return self.pid not in (None, since)

    def weights(self, host: Host, commit: str = "") -> Path:
        return host.file(f"{DIRECTORY}/weights/{REPO}/{commit or self.commit}/{GGUF}")

    def forget(self, host: Host) -> None:
        """Let `host` have no weights any more."""
        host.run(f"rm -rf {DIRECTORY}/weights/*")

    def get(self, place: str, token: str | None = None, *options: str) -> str:
        """The status and the first line that another host gets from the mirror for `place`."""
        header = ["-H", f"Authorization: Bearer {token}"] if token else []
        words = ["curl", "--silent", "--path-as-is", *header, *options]
        words += ["--output", "/tmp/got", "--write-out", "%{http_code} %{size_download}"]
        found = self.one.run(shlex.join([*words, f"http://mirror:8880{place}"]), check=False)
        self.one.run("rm -f /tmp/got")
        return found


@pytest.fixture(scope="module")
def hub(lab: Lab) -> Iterator[Hub]:
    with hub_on(lab) as hub:
        yield hub


@pytest.fixture(scope="module")
def fleet(lab: Lab, hub: Hub) -> Fleet:
    return Fleet(lab, hub)


def test_who_may_not_install_nginx_is_told_what_to_type(fleet: Fleet) -> None:
    as_anna = fleet.lab.inventory(
        {"mirror": [fleet.mirror]}, user="anna", name="anna", routes=PULLED
    )
    run = fleet.lab.deploy(as_anna)
    assert run.status == 1
    assert (
        "there is no nginx on this machine, and sudo asks for a password to install it. Type: sudo "
        "apt install nginx-light && sudo systemctl disable --now nginx"
    ) in run.output
    assert fleet.mirror.difference(fleet.before["mirror"]) == {}


def test_a_port_that_somebody_else_has(fleet: Fleet) -> None:
    fleet.mirror.run("systemd-run --quiet --unit=other python3 -m http.server 8880")
    wait_until(lambda: "8880" in fleet.mirror.run("ss -Hltn"))
    run = fleet.deploy("--limit", "mirror")
    fleet.mirror.run("systemctl stop other")
    assert run.status == 1
    assert "port 8880 of the mirror is in use by a process of another user" in run.output
    assert fleet.mirror.difference(fleet.before["mirror"]) == {}


def test_one_run_over_bare_hosts_asks_the_hub_for_each_byte_once(fleet: Fleet) -> None:
    run = fleet.deploy()
    assert run.status == 0, run.output
    for host in fleet.hosts:
        assert f"{REPO} is complete and verified: 1 files, 98.4 MB" in str(run.of(host.name))
        assert fleet.weights(host).read_bytes() == gguf()
    assert fleet.hub.bytes_sent(GGUF) == len(gguf())
    assert run.of("mirror")[-1] == (
        f"the mirror at http://mirror:8880 answers, and serves {REPO} (98.4 MB)"
    )
    assert run.of("laptop")[-1].startswith("claude-fable5 (SmolLM2 135M (pulled), 8,192 tokens) a")
    assert fleet.token not in run.output


def test_the_distributions_own_server_does_not_run(fleet: Fleet) -> None:
    listening = {line.split()[3] for line in fleet.mirror.run("ss -Hltn").splitlines()}
    assert listening & {"0.0.0.0:80", "0.0.0.0:8880"} == {"0.0.0.0:8880"}
    assert fleet.mirror.service("nginx.service").active == "inactive"


def test_its_processes_are_the_users_own(fleet: Fleet) -> None:
    users = fleet.mirror.run("ps -C nginx -o user=").split()
    assert set(users) == {USER}


def test_the_token_is_in_private_files_only(fleet: Fleet) -> None:
    found = fleet.mirror.run(f"grep -rlF {fleet.token} {DIRECTORY} .config", user=USER).split()
    assert sorted(found) == [
        f"{DIRECTORY}/service/mirror.nginx.conf",
        f"{DIRECTORY}/service/mirror.token",
    ]
    assert {fleet.mirror.file(name).stat().st_mode & 0o777 for name in found} == {0o600}


def test_a_second_run_changes_nothing_and_asks_nobody(fleet: Fleet) -> None:
    pid, before = fleet.pid, fleet.mirror.tree()
    fleet.hub.requests.clear()
    run = fleet.deploy()
    assert run.status == 0, run.output
    assert [run.of(host.name)[0] for host in fleet.hosts] == ["no changes"] * 4
    assert fleet.hub.requests == []
    assert fleet.pid == pid
    assert fleet.mirror.difference(before) == {}


def test_only_who_has_the_token_is_served(fleet: Fleet) -> None:
    place = f"/{REPO}/resolve/{fleet.commit}/{GGUF}"
    for token in (None, "x", fleet.token.upper(), fleet.token[:-1]):
        assert fleet.get(place, token).startswith("401 ")
    assert fleet.get(place, fleet.token) == f"200 {len(gguf())}"
    assert fleet.get(place, fleet.token, "--range", "98362400-") == "206 32"
    assert fleet.get(f"/{REPO}/resolve/main/{GGUF}", fleet.token, "--head").startswith("200 ")


@pytest.mark.parametrize(
    "place",
    [
        "/",
        f"/{REPO}/",
        f"/{REPO}/.homeport/lock",
        f"/{REPO}/resolve/.homeport/lock",
        f"/{REPO}/resolve/COMMIT/../.homeport/COMMIT.json",
        f"/{REPO}/resolve/COMMIT/%2e%2e/.homeport/COMMIT.json",
        f"/{REPO}/resolve/COMMIT/{GGUF}.homeport-part",
        f"/{REPO}/resolve/COMMIT/README.md",
        f"/{REPO}/current/{GGUF}",
        f"/{REPO}/COMMIT/{GGUF}",
        "/../service/mirror.token",
        "/run/nginx.pid",
    ],
)
def test_nothing_else_is_served(fleet: Fleet, place: str) -> None:
    part = fleet.weights(fleet.mirror).with_name(f"{GGUF}.homeport-part")
    part.write_bytes(b"incomplete")
    found = fleet.get(place.replace("COMMIT", fleet.commit), fleet.token)
    part.unlink()
    assert found.split()[0] in ("404", "400")


def test_the_stock_client_downloads_from_it(fleet: Fleet, tmp_path: Path) -> None:
    hf = Path(sys.executable).parent / "hf"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "HF_ENDPOINT": f"http://{fleet.mirror.address}:8880",
        "HF_TOKEN": fleet.token,
    }
    for number, words in enumerate(([], [GGUF], ["--revision", fleet.commit])):
        folder = tmp_path / str(number)
        done = subprocess.run(
            [*fleet.lab.network.words(), hf, "download", REPO, *words, "--local-dir", folder],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, done.stdout
        assert (folder / GGUF).read_bytes() == gguf()


def test_a_byte_that_was_altered_on_the_mirrors_disk_is_refused(fleet: Fleet) -> None:
    file = fleet.weights(fleet.mirror)
    times = file.stat()
    with file.open("r+b") as content:
        content.seek(50_000_000)
        (byte,) = content.read(1)
        content.seek(50_000_000)
        content.write(bytes([byte ^ 1]))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    fleet.forget(fleet.one)
    run = fleet.deploy("--limit", "one")
    file.write_bytes(gguf())
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run.status == 1
    assert (
        f"http://mirror:8880 sent {GGUF} of {REPO} twice, and both times it was not the pinned file"
    ) in run.of("one")[-1]
    assert not fleet.weights(fleet.one).exists()


def test_another_token_is_said_to_be_another(fleet: Fleet) -> None:
    secret = fleet.lab.project / "secrets" / "mirror.token"
    right = secret.read_text()
    secret.write_text("another\n")
    run = fleet.deploy("--limit", "one")
    assert run.status == 1
    assert (
        "the mirror at http://mirror:8880 takes another token. Deploy it first, with --limit mirror"
    ) in run.of("one")[-1]
    pid = fleet.pid
    changed = fleet.deploy("--limit", "mirror", "--limit", "one")
    assert changed.status == 0, changed.output
    assert fleet.pid != pid
    assert fleet.get(f"/{REPO}/resolve/main/{GGUF}", right.strip()).startswith("401 ")


def diagnosed(fleet: Fleet) -> dict[str, Any]:
    """What the mirror's own doctor says."""
    words = f"{DIRECTORY}/bin/homeport-doctor --json"
    found: dict[str, Any] = json.loads(fleet.mirror.run(words, user=USER, check=False))
    return found


def test_the_doctor_of_a_healthy_mirror(fleet: Fleet) -> None:
    found = diagnosed(fleet)
    assert found["is_healthy"], found
    assert found["facts"][REPO] == {"weights": fleet.commit[:12]}


def test_a_mirror_that_is_down(fleet: Fleet) -> None:
    fleet.mirror.run(f"systemctl --user stop {UNIT}", user=USER)
    found = [one["check"] for one in diagnosed(fleet)["findings"]]
    assert found == ["service-stopped"]
    fleet.forget(fleet.one)
    fleet.hub.requests.clear()
    run = fleet.deploy("--limit", "one", "--limit", "two")
    assert run.status == 1
    assert run.of("one")[-1] == (
        "the mirror at http://mirror:8880 is down, or cannot be reached from here ([Errno 111] "
        "Connection refused). Deploy it first, with --limit mirror; or set its fall_back, and the "
        "Hub is asked instead"
    )
    assert run.of("two")[0] == "no changes", "it has its weights, and needs no mirror"
    assert fleet.hub.requests == []


def test_where_it_is_allowed_the_hub_is_asked_instead(fleet: Fleet) -> None:
    fleet.settings(fall_back=True)
    run = fleet.deploy("--limit", "one")
    fleet.settings()
    assert run.status == 0, run.output
    assert any(
        line.startswith(f"{REPO}: http://mirror:8880: ")
        and line.endswith(f"; from {fleet.hub.url} instead")
        for line in run.of("one")
    ), run.output
    assert fleet.hub.bytes_sent(GGUF) == len(gguf())
    assert fleet.weights(fleet.one).read_bytes() == gguf()


def test_the_next_run_starts_it_again(fleet: Fleet) -> None:
    run = fleet.deploy()
    assert run.status == 0, run.output
    assert run.of("mirror")[0] == "1 change made"
    assert fleet.pid


def test_it_serves_after_a_reboot_without_a_login(fleet: Fleet) -> None:
    fleet.mirror.reboot()
    place = f"/{REPO}/resolve/main/{GGUF}"
    wait_until(lambda: fleet.get(place, fleet.token) == f"200 {len(gguf())}")
    assert fleet.deploy("--limit", "mirror").of("mirror")[0] == "no changes"


def test_nginx_that_was_killed_comes_back(fleet: Fleet) -> None:
    for victim in ("/bin/sh -c trap", "nginx: master"):
        pid = fleet.pid
        fleet.mirror.run(f"pkill -KILL -f {shlex.quote('^' + victim)}")
        wait_until(partial(fleet.runs_anew, since=pid))
        wait_until(lambda: fleet.get("/", fleet.token).startswith("404 "))
    assert fleet.deploy("--limit", "mirror").of("mirror")[0] == "no changes"


def test_a_new_pin_reaches_the_mirror_first_and_both_revisions_are_served(fleet: Fleet) -> None:
    old, new = fleet.commit, gguf() + bytes(32)
    fleet.commit = fleet.hub.commit(REPO, {"README.md": b"small\n", GGUF: new})
    assert pin(fleet.lab).status == 0
    fleet.hub.requests.clear()
    alone = fleet.deploy("--limit", "one")
    assert alone.status == 1
    assert (
        f"the mirror at http://mirror:8880 does not have {GGUF} of {REPO} in revision "
        f"{fleet.commit}. Deploy it first, with --limit mirror"
    ) in alone.of("one")[-1]
    run = fleet.deploy()
    assert run.status == 0, run.output
    assert fleet.hub.bytes_sent(GGUF) == len(new)
    for host in fleet.hosts:
        assert fleet.weights(host).read_bytes() == new
    assert run.of("mirror")[-1].endswith(f"{REPO} (98.4 MB, and the revision before)")
    for name, content in ((old, gguf()), (fleet.commit, new), ("main", new)):
        got = fleet.get(f"/{REPO}/resolve/{name}/{GGUF}", fleet.token)
        assert got == f"200 {len(content)}"
    assert [fleet.deploy().of(host.name)[0] for host in fleet.hosts[:1]] == ["no changes"]


def test_two_mirrors_are_refused(fleet: Fleet) -> None:
    both = fleet.lab.inventory(
        {"mirror": [fleet.mirror, fleet.two]}, user=USER, name="both", routes=PULLED
    )
    run = fleet.lab.deploy(both)
    assert run.status == 1
    assert "inventory: mirror is ['mirror', 'two']: all hosts pull from one mirror." in run.output
    assert "Connected" not in run.output


def test_removal_leaves_no_trace(fleet: Fleet) -> None:
    run = fleet.lab.remove(fleet.inventory)
    assert run.status == 0, run.output
    for host in fleet.hosts:
        left = host.difference(fleet.before[host.name])
        assert [path for path in left if not path.startswith(PACKAGING)] == []
    assert fleet.mirror.run("dpkg-query -W") == fleet.packages
    assert fleet.mirror.run("pgrep -a nginx", check=False) == ""
    assert fleet.mirror.service("nginx.service").enabled == ""
    assert fleet.lab.remove(fleet.inventory).of("mirror")[0] == "no changes"


def test_where_apt_fails_nothing_of_nginx_stays(fleet: Fleet) -> None:
    conf = fleet.mirror.file("/etc/apt/apt.conf.d/90lab")
    right = conf.read_text()
    conf.write_text(right.replace(":3128", ":1"))
    fleet.mirror.run("apt-get clean")
    run = fleet.deploy("--limit", "mirror")
    conf.write_text(right)
    assert run.status == 1
    assert "apt could not install nginx-light, see its lines above. Type: sudo apt" in run.output
    assert not fleet.mirror.file(f"{DIRECTORY}/state/installed-packages").exists()
    assert fleet.lab.remove(fleet.inventory, "--limit", "mirror").status == 0
    left = fleet.mirror.difference(fleet.before["mirror"])
    assert [path for path in left if not path.startswith(PACKAGING)] == []


def test_a_mirror_may_be_a_laptop_as_well(fleet: Fleet) -> None:
    model = "homeport.claude-fable5.service"
    groups = {"mirror": [fleet.mirror], "laptops": [fleet.mirror]}
    both = fleet.lab.inventory(groups, user=USER, name="both", routes=PULLED)
    run = fleet.lab.deploy(both)
    assert run.status == 0, run.output
    assert [line.split(" ")[0] for line in run.of("mirror")[1:]] == [REPO, "the", "claude-fable5"]
    pids = [fleet.mirror.service(unit, user=USER).pid for unit in (UNIT, model)]
    assert fleet.lab.deploy(both).of("mirror")[0] == "no changes"
    assert [fleet.mirror.service(unit, user=USER).pid for unit in (UNIT, model)] == pids
    alone = fleet.deploy("--limit", "mirror")
    assert alone.status == 0, alone.output
    assert fleet.mirror.service(model, user=USER).active == "inactive"
    assert fleet.pid == pids[0]
    assert fleet.lab.remove(fleet.inventory, "--limit", "mirror").status == 0
    left = fleet.mirror.difference(fleet.before["mirror"])
    assert [path for path in left if not path.startswith(PACKAGING)] == []


def test_an_nginx_that_is_there_is_used_and_left(fleet: Fleet) -> None:
    fleet.mirror.run("DEBIAN_FRONTEND=noninteractive apt-get -qq -y install nginx-light")
    before = fleet.mirror.tree()
    as_anna = fleet.lab.inventory(
        {"mirror": [fleet.mirror]}, user="anna", name="anna", routes=PULLED
    )
    run = fleet.lab.deploy(as_anna)
    assert run.status == 0, run.output
    assert run.of("mirror")[-1].startswith("the mirror at http://mirror:8880 answers")
    assert fleet.mirror.service("nginx.service").active == "active"
    assert fleet.lab.remove(as_anna).status == 0
    assert fleet.mirror.difference(before) == {}
    assert fleet.mirror.service("nginx.service").active == "active"
