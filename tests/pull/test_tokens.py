"""A token goes to the endpoint that it is for, and nowhere else."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path

import pytest

from ..hub import Hub, Status, Trickle
from .puller import REPO, Puller, found, hashes, pins, some_bytes

TOKEN = "hf_secretsecretsecret"
FILES = {"a.safetensors": some_bytes(400_000), "b.json": b"{}"}


@pytest.fixture
def tokens(hub: Hub, puller: Puller) -> Path:
    """A file with the token for the Hub, where owner/name is gated."""
    hub.add_token(TOKEN, may_see=(REPO,))
    path = puller.folder / "tokens.json"
    path.write_text(json.dumps({hub.url: TOKEN, "http://127.0.0.3:1": "hf_other"}))
    return path


def seen(hub: Hub) -> set[tuple[str, str | None]]:
    return {(request.host, request.authorization) for request in hub.requests}


@pytest.mark.parametrize("pinned", [True, False])
def test_the_endpoint_sees_it_and_the_cdn_does_not(
    hub: Hub, puller: Puller, tokens: Path, pinned: bool
) -> None:
    commit = hub.commit(REPO, FILES, gated=True)
    specs = pins(hub, commit) if pinned else None
    done = puller.pull(puller.desired(hub, commit, specs, tokens=str(tokens)))
    assert done.status == 0
    assert found(puller.current) == hashes(FILES)
    assert seen(hub) == {("hub", f"Bearer {TOKEN}"), ("cdn", None)}
    assert not hub.leaks


def test_it_comes_as_a_credential_of_systemd(hub: Hub, puller: Puller, tokens: Path) -> None:
    commit = hub.commit(REPO, FILES, gated=True)
    credentials = puller.folder / "credentials"
    credentials.mkdir()
    tokens.rename(credentials / "hub-tokens.json")
    desired = puller.desired(hub, commit, tokens="/etc/homeport/hub-tokens.json")
    environment = {"CREDENTIALS_DIRECTORY": str(credentials)}
    assert puller.pull(desired, environment=environment).status == 0


def test_it_shows_nowhere(hub: Hub, puller: Puller, tokens: Path) -> None:
    commit = hub.commit(REPO, FILES, gated=True)
    hub.fault("*", Trickle(0, 200_000), host="cdn")
    hub.fault("*", Status(403), host="cdn")
    pull = puller.start("pull", puller.desired(hub, commit, tokens=str(tokens)))
    shown = ""
    while pull.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):  # it ends between the two
            shown += Path(f"/proc/{pull.process.pid}/cmdline").read_bytes().decode()
            shown += Path(f"/proc/{pull.process.pid}/environ").read_bytes().decode()
        shown += json.dumps(pull.progress())
        time.sleep(0.05)
    done = pull.wait()
    assert done.status == 0
    assert "desired-1.json" in shown
    assert "a.safetensors" in shown
    for text in (shown, done.said, done.words):
        assert TOKEN not in text
    for path in puller.destination.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes()


def test_it_shows_in_no_refusal(hub: Hub, puller: Puller, tokens: Path) -> None:
    tokens.write_text(json.dumps({hub.url: "hf_wrongwrongwrong"}))
    commit = hub.commit(REPO, FILES, gated=True)
    done = puller.pull(puller.desired(hub, commit, tokens=str(tokens)))
    assert done.status == 2
    assert "hf_wrong" not in done.said + done.words + json.dumps(puller.progress())


@pytest.mark.parametrize("pinned", [True, False])
def test_one_that_lies_about_is_not_sent(hub: Hub, puller: Puller, pinned: bool) -> None:
    """That of whoever runs this, for something else."""
    hub.add_token("hf_mine")
    cache = puller.home / ".cache/huggingface"
    cache.mkdir(parents=True)
    (cache / "token").write_text("hf_mine")
    (puller.home / ".netrc").write_text("machine 127.0.0.1 login me password hf_mine\n")
    (puller.home / ".netrc").chmod(0o600)
    commit = hub.commit(REPO, FILES)
    desired = puller.desired(hub, commit, pins(hub, commit) if pinned else None)
    environment = {
        "HF_TOKEN": "hf_mine",
        "HUGGING_FACE_HUB_TOKEN": "hf_mine",
        "HF_HOME": str(cache),
    }
    assert puller.pull(desired, environment=environment).status == 0
    assert seen(hub) == {("hub", None), ("cdn", None)}


def test_one_that_lies_about_does_not_replace_the_given(
    hub: Hub, puller: Puller, tokens: Path
) -> None:
    commit = hub.commit(REPO, FILES, gated=True)
    desired = puller.desired(hub, commit, tokens=str(tokens))
    assert puller.pull(desired, environment={"HF_TOKEN": "hf_mine"}).status == 0
    assert seen(hub) == {("hub", f"Bearer {TOKEN}"), ("cdn", None)}


def test_a_mirror_is_asked_past_the_proxy(hub: Hub, puller: Puller, tokens: Path) -> None:
    """It is on the LAN, and its token is nothing for a proxy on the way to the internet."""
    commit = hub.commit(REPO, FILES, gated=True)
    specs = pins(hub, commit)
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        desired = puller.desired(hub, commit, specs, tokens=str(tokens), mirror=True)
        done = puller.pull(desired, environment={"http_proxy": url, "all_proxy": url})
        proxy.setblocking(False)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert done.status == 0
