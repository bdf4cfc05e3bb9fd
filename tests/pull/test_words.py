"""What somebody has to do something about ends the pull with status 2, and says what to do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ..hub import Hub
from .puller import REPO, Done, Puller, found, hashes, pins

FILES = {"a.safetensors": b"weights", "a.json": b"{}", "model.bin": b"pickle"}
NOWHERE = "0" * 40


def refused(done: Done, *words: str) -> None:
    assert done.status == 2, (done.said, done.words)
    assert done.words.startswith("pull.py: ")
    assert len(done.words.splitlines()) == 1, done.words
    for word in words:
        assert word in done.words


def test_no_such_repository(hub: Hub, puller: Puller) -> None:
    done = puller.pull(puller.desired(hub, NOWHERE))
    refused(done, f"there is no repository {REPO} at {hub.url}", "hub_token_env", "is private")
    now = puller.progress()
    assert (now["state"], now["final"]) == ("failed", True)
    assert now["message"] in done.words


@pytest.mark.parametrize("pinned", [True, False])
def test_a_private_repository(hub: Hub, puller: Puller, pinned: bool) -> None:
    """Found with a token, and without one it looks like any that does not exist."""
    commit = hub.commit(REPO, FILES)
    hub.require_token(REPO)
    hub.add_token("hf_good")
    specs = pins(hub, commit) if pinned else None
    more: dict[str, Any] = {"patterns": ["a.*"]}
    done = puller.pull(puller.desired(hub, commit, specs, **more))
    refused(done, "there is no repository", "set hub_token_env or hub_token_file")
    tokens = puller.folder / "tokens.json"
    tokens.write_text(json.dumps({hub.url: "hf_good"}))
    more["tokens"] = str(tokens)
    assert puller.pull(puller.desired(hub, commit, specs, **more)).status == 0


def test_a_repository_that_the_token_does_not_see(hub: Hub, puller: Puller) -> None:
    hub.add_token("hf_good")
    tokens = puller.folder / "tokens.json"
    tokens.write_text(json.dumps({hub.url: "hf_good"}))
    done = puller.pull(puller.desired(hub, NOWHERE, tokens=str(tokens)))
    refused(done, "is private and the token may not see it")


@pytest.mark.parametrize("pinned", [True, False])
def test_no_such_revision(hub: Hub, puller: Puller, pinned: bool) -> None:
    commit = hub.commit(REPO, FILES)
    specs = pins(hub, commit) if pinned else None
    done = puller.pull(puller.desired(hub, NOWHERE, specs, patterns=["a.*"]))
    refused(done, f"has no revision {NOWHERE}", "make pin")


def test_no_such_file(hub: Hub, puller: Puller) -> None:
    specs = pins(hub, hub.commit(REPO, FILES))
    commit = hub.commit(REPO, {"a.json": b"{}"})
    done = puller.pull(puller.desired(hub, commit, specs, patterns=["a.*"]))
    refused(done, f"has no a.safetensors in revision {commit}", "make pin")


@pytest.mark.parametrize("token", [None, "hf_other"])
def test_a_gated_repository(hub: Hub, puller: Puller, token: str | None) -> None:
    commit = hub.commit(REPO, FILES, gated=True)
    hub.add_token("hf_other")
    tokens = puller.folder / "tokens.json"
    tokens.write_text(json.dumps({hub.url: token} if token else {}))
    desired = puller.desired(hub, commit, patterns=["a.*"], tokens=str(tokens))
    done = puller.pull(desired)
    refused(done, f"{REPO} is gated. Accept its licence at {hub.url}/{REPO}", "hub_token_file")
    assert ("(the one that was sent has no access)" in done.words) == bool(token)
    tokens.write_text(json.dumps({hub.url: "hf_in"}))
    hub.add_token("hf_in", may_see=(REPO,))
    assert puller.pull(desired).status == 0


def test_a_token_that_is_not_valid(hub: Hub, puller: Puller) -> None:
    commit = hub.commit(REPO, FILES)
    tokens = puller.folder / "tokens.json"
    tokens.write_text(json.dumps({hub.url: "hf_bad"}))
    for specs in (None, pins(hub, commit)):
        desired = puller.desired(hub, commit, specs, patterns=["a.*"], tokens=str(tokens))
        done = puller.pull(desired)
        refused(done, f"{hub.url} does not accept the token", "Settings, Access Tokens")
        assert "hf_bad" not in done.words + done.said


@pytest.mark.parametrize("pinned", [True, False])
def test_a_pattern_that_matches_nothing(hub: Hub, puller: Puller, pinned: bool) -> None:
    commit = hub.commit(REPO, FILES)
    specs = pins(hub, commit) if pinned else None
    done = puller.pull(puller.desired(hub, commit, specs, patterns=["*.json", "*.gguf"]))
    words = f"nothing in {REPO} at {commit[:12]} matches '*.gguf'. It has a.json, a.safetensors"
    refused(done, words, "model.bin")


def test_a_pattern_that_matches_nothing_of_many(hub: Hub, puller: Puller) -> None:
    commit = hub.commit(REPO, {f"{n:02}.json": b"" for n in range(20)})
    done = puller.pull(puller.desired(hub, commit, patterns=["*.gguf"]))
    refused(done, "It has 00.json, 01.json", "11.json and 8 more")


def test_a_pickle(hub: Hub, puller: Puller) -> None:
    commit = hub.commit(REPO, FILES)
    for specs in (None, pins(hub, commit)):
        done = puller.pull(puller.desired(hub, commit, specs))
        refused(done, f"model.bin of {REPO} is a pickle, which can execute code", "allow_pickle")
    assert puller.pull(puller.desired(hub, commit, allow_pickle=True)).status == 0
    assert found(puller.current) == hashes(FILES)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../b", "a//b", ".", "", "x\0y", "./a"])
def test_a_path_that_leads_elsewhere(hub: Hub, puller: Puller, path: str) -> None:
    specs = {path: {"size": 1, "sha256": "0" * 64}}
    done = puller.pull(puller.desired(hub, NOWHERE, specs))
    refused(done, f"{path!r} is no path inside a repository")
    assert not hub.requests
    assert not (puller.destination / NOWHERE).exists()


@pytest.mark.parametrize(
    "spec",
    [
        {"size": 1},
        {"sha256": "0" * 64},
        {"size": 1, "sha256": "0" * 64, "git_sha1": "0" * 40},
        {"size": 1, "md5": "0"},
    ],
)
def test_a_pin_that_says_too_little_or_too_much(
    hub: Hub, puller: Puller, spec: dict[str, Any]
) -> None:
    done = puller.pull(puller.desired(hub, NOWHERE, {"a": spec}))
    refused(done, "is not a size and one hash")


@pytest.mark.parametrize("revision", ["main", "v1.0", "0" * 39, "0" * 41, "G" * 40, "A" * 40])
def test_a_revision_that_is_no_commit(hub: Hub, puller: Puller, revision: str) -> None:
    done = puller.pull(puller.desired(hub, revision))
    refused(done, f"revision {revision!r} is no commit of 40 hex digits")
    assert not puller.destination.exists()


def test_a_key_that_nothing_reads(hub: Hub, puller: Puller) -> None:
    done = puller.pull(puller.desired(hub, NOWHERE, colour="red", size=1))
    refused(done, "nothing reads colour, size")


def test_tokens_that_are_not_there(hub: Hub, puller: Puller) -> None:
    done = puller.pull(puller.desired(hub, NOWHERE, tokens="/nowhere/tokens.json"))
    refused(done, "/nowhere/tokens.json")


@pytest.mark.parametrize("content", [None, "", "{}", '{"endpoint": '])
def test_a_desired_that_cannot_be_read(puller: Puller, content: str | None) -> None:
    path = puller.folder / "desired.json"
    if content is not None:
        path.write_text(content)
    refused(puller.pull(path), str(path))
