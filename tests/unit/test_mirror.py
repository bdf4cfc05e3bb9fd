"""What a mirror serves, and its nginx's configuration."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeport import pins, render
from homeport.catalog import MODELS
from homeport.errors import SettingsError
from homeport.layout import Layout
from homeport.mirroring import Held, from_manifest, inputs, largest, service
from homeport.model import Endpoint, Token
from homeport.pins import Pin
from homeport.remote.pull import File, file_of
from homeport.service import Manager
from homeport.settings import HostData, HostSettings, check_mirror, check_pins, of
from homeport.weights import HubWeights

from ..conftest import missing

COMMIT, EARLIER = "a" * 40, "b" * 40
LAYOUT = Layout.under("/home/jörg o'x 100%", "~/.homeport")
ODD = "sub/a $1 \"x\\y?&#;{}' 100%.gguf"
GGUF = File("m.gguf", 98_362_432, "sha256", "0" * 64)
HELD = [
    Held("team/small", COMMIT, (GGUF, File(ODD, 7, "git_sha1", "1" * 40)), main=True),
    Held("team/small", EARLIER, (GGUF,), main=False),
]
GEMMA = MODELS["gemma-4-12b-coder"].weights
ROUTES = {"claude-fable5": {"model": "gemma-4-12b-coder", "host": "localhost", "port": 18080}}
MIRROR = {"host": "mirror-01", "port": 8880, "open_to_network": True}


def configuration(endpoint: Endpoint, **values: Any) -> str:
    given = {"held": HELD, "user": None, "without": (), "ipv6": True, **values}
    return render.mirror(endpoint, **given).decode()


def open_at(port: int) -> Endpoint:
    return Endpoint("mirror-01", port, open_to_network=True)


def listed(text: str) -> set[str]:
    """The addresses of files."""
    words = re.findall(r'location = "((?:\\.|[^"\\])*)"', text)
    return {re.sub(r"\\(.)", r"\1", word) for word in words if "/resolve/" in word}


def test_it_listens_where_the_machine_has_addresses() -> None:
    assert "[::]" not in configuration(open_at(8880), ipv6=False)
    local = configuration(Endpoint("localhost", 8880))
    assert re.findall(r"listen (.*);", local) == ["127.0.0.1:8880"]


def test_only_the_files_that_are_held_have_an_address() -> None:
    assert listed(configuration(open_at(8880))) == {
        f"/team/small/resolve/{COMMIT}/m.gguf",
        f"/team/small/resolve/{COMMIT}/{ODD}",
        "/team/small/resolve/main/m.gguf",
        f"/team/small/resolve/main/{ODD}",
        f"/team/small/resolve/{EARLIER}/m.gguf",
    }


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        missing("nginx is not installed")
    (tmp_path / "mirror" / "run").mkdir(parents=True)
    file = tmp_path / "nginx.conf"
    file.write_text(configuration(Endpoint("mirror-01", 8880, Token("a.b+c/d=e:f~g-_"))))
    done = subprocess.run(
        [nginx, "-t", "-p", f"{tmp_path}/", "-c", file], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_a_module_that_nginx_lacks_is_not_spoken_of() -> None:
    text = configuration(open_at(8880), without=("scgi", "uwsgi"))
    assert "proxy_temp_path" in text and "scgi_temp_path" not in text


def test_the_hubs_list_of_files_says_what_was_pinned() -> None:
    tree = json.loads(HELD[0].documents[HELD[0].tree])
    found = []
    for entry in tree:
        hashed = {"sha256": entry["lfs"]["oid"]} if "lfs" in entry else {"git_sha1": entry["oid"]}
        found.append(file_of(entry["path"], {"size": entry["size"], **hashed}))
    assert tuple(found) == HELD[0].files
    info = json.loads(HELD[0].documents[HELD[0].info])
    assert (info["id"], info["sha"]) == ("team/small", COMMIT)


def test_a_revision_that_was_never_whole_is_not_held() -> None:
    manifest = {
        "repo": "team/small",
        "revision": EARLIER,
        "digest": "x",
        "files": {"m.gguf": {**GGUF.spec(), "mtime_ns": 1}},
    }
    assert from_manifest(manifest) == HELD[1]
    assert from_manifest({**manifest, "digest": None}) is None
    assert from_manifest({}) is None


def test_the_largest_file_of_the_pinned_revision_is_asked_for() -> None:
    assert largest(HELD) == (HELD[0], GGUF)
    assert largest(HELD[1:]) is None


def test_what_nginx_is_started_from_is_the_services_identity() -> None:
    contents = [
        configuration(Endpoint("m", 8880, Token("one"))),
        configuration(Endpoint("m", 8880, Token("two"))),
        configuration(Endpoint("m", 8881, Token("one"))),
        configuration(Endpoint("m", 8880, Token("one")), held=HELD[:1]),
    ]
    made = [service("/usr/sbin/nginx", inputs(text.encode(), "v1"), LAYOUT) for text in contents]
    made.append(service("/usr/sbin/nginx", inputs(contents[0].encode(), "v2"), LAYOUT))
    assert len({one.digest for one in made}) == 5
    unit = render.definition(made[0], Manager.SYSTEMD, "/u").decode()
    assert unit.count("\nExecStart=") == 1 and '"$@"' not in unit and '\\"$@\\"' in unit


def host(*groups: str, **values: Any) -> tuple[HostData, HostSettings]:
    data = HostData("box", groups, values, lambda key: "group_data/all.py")
    return data, of(data)


def test_a_mirror_serves_where_the_others_ask() -> None:
    _, one = host("mirror", routes=ROUTES, mirror=MIRROR)
    _, other = host("laptops", routes=ROUTES, mirror=MIRROR, serve=["claude-fable5"])
    assert one.serves_mirror == other.source.mirror
    assert one.source.mirror is other.serves_mirror is None


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "group_data/all.py: mirror is None: no host would pull from it."),
        (
            {"mirror": {**MIRROR, "port": 80}},
            "group_data/all.py: mirror.port is 80: a server that does not run as root gets no port "
            "below 1024. Write e.g. 8880.",
        ),
        (
            {"mirror": {**MIRROR, "port": 18080}},
            "group_data/all.py: mirror.port is 18080: box serves claude-fable5 on the same port.",
        ),
        ({"mirror": {**MIRROR, "tls": True}}, "group_data/all.py: mirror.tls is True: nothing re"),
    ],
)
def test_a_mirror_that_cannot_work(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        host("mirror", "laptops", routes=ROUTES, serve=["claude-fable5"], **values)
    assert str(caught.value).startswith(sentence)


def test_one_host_is_the_mirror() -> None:
    _, one = host("mirror", routes=ROUTES, mirror=MIRROR)
    with pytest.raises(SettingsError, match=r"inventory: mirror is \['a', 'b'\]: all hosts pull"):
        check_mirror({"a": one, "b": one})
    check_mirror({"a": one})


def test_what_others_pull_from_the_mirror_it_has_to_hold() -> None:
    _, nothing = host("mirror", routes=ROUTES, mirror=MIRROR, mirrored=[])
    _, laptop = host("laptops", routes=ROUTES, mirror=MIRROR, serve=["claude-fable5"])
    with pytest.raises(
        SettingsError, match=r"mirrored is \[\]: laptop pulls .* from mirror, which"
    ):
        check_mirror({"laptop": laptop, "mirror": nothing})
    _, falls_back = host(
        "laptops", routes=ROUTES, mirror={**MIRROR, "fall_back": True}, serve=["claude-fable5"]
    )
    check_mirror({"laptop": falls_back, "mirror": nothing})
    _, everything = host("mirror", routes=ROUTES, mirror=MIRROR)
    check_mirror({"laptop": laptop, "mirror": everything})


def test_a_laptop_that_is_the_mirror_may_hold_what_llama_cpp_cannot_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    glm = MODELS["glm-5.2-fp8"].weights
    assert isinstance(glm, HubWeights) and isinstance(GEMMA, HubWeights)
    names = {one.repo: [pattern.replace("*", "x") for pattern in one.files] for one in (glm, GEMMA)}
    pinned = {
        repo: Pin(repo, COMMIT, tuple(replace(GGUF, path=name) for name in found))
        for repo, found in names.items()
    }
    monkeypatch.setattr(pins, "read", lambda: pinned)
    routes = {
        **ROUTES,
        "claude-glm": {**ROUTES["claude-fable5"], "model": "glm-5.2-fp8", "port": 8000},
    }
    check_pins(*host("mirror", "laptops", routes=routes, mirror=MIRROR, serve=["claude-fable5"]))
