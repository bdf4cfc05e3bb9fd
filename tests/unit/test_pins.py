"""weights.lock.json, and where pinned weights come from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport import ROOT, pins
from homeport.catalog import MODELS
from homeport.errors import SettingsError
from homeport.pins import Pin, difference, parse, written
from homeport.remote.pull import File, Problem, file_of
from homeport.settings import HostData, HostSettings, check_pins, of
from homeport.sources import source
from homeport.weights import HubWeights, together

COMMIT, LATER = "0" * 40, "1" * 40
GEMMA = "yuxinlu1/gemma-4-12B-coder-fable5-composer2.5-v1-GGUF"
ROUTES = {"claude-fable5": {"model": "gemma-4-12b-coder", "host": "localhost", "port": 18080}}


def a_file(path: str, size: int = 7, digit: str = "a") -> File:
    return File(path, size, "sha256", digit * 64)


def a_pin(*files: File, revision: str = COMMIT, repo: str = GEMMA) -> Pin:
    return Pin(repo, revision, files)


def weights(*patterns: str, pin: Pin | None = None, **more: Any) -> HubWeights:
    return HubWeights(GEMMA, patterns, 1, pin, **more)


def test_a_shard_that_is_not_pinned() -> None:
    names = [f"model-{number:05}-of-00003.safetensors" for number in (1, 3)]
    two = replace(weights("*"), pin=a_pin(*map(a_file, names)))
    with pytest.raises(SettingsError, match="of its 3 shards 1 are not pinned, the first of them"):
        two.check_shards()
    replace(two, pin=a_pin(*map(a_file, [*names, names[0].replace("1-", "2-")]))).check_shards()


paths = st.from_regex(r"[a-z][a-z0-9 _.-]{0,8}[a-z](/[a-z]{1,5})?", fullmatch=True)
hashes = st.sampled_from([("sha256", 64), ("git_sha1", 40)]).flatmap(
    lambda kind: st.builds(
        lambda text: (kind[0], text),
        st.text("0123456789abcdef", min_size=kind[1], max_size=kind[1]),
    )
)


@given(st.dictionaries(paths, st.tuples(st.integers(0, 10**13), hashes), max_size=5))
def test_what_is_written_is_read_again(files: dict[str, tuple[int, tuple[str, str]]]) -> None:
    pin = a_pin(*(File(path, size, *of) for path, (size, of) in sorted(files.items())))
    assert parse(written({GEMMA: pin})) == {GEMMA: pin}


def test_every_file_has_a_line_of_its_own() -> None:
    text = written({GEMMA: a_pin(a_file("a.gguf"), a_file("b.gguf"))})
    assert [line.split('"')[1] for line in text.splitlines() if ".gguf" in line] == [
        "a.gguf",
        "b.gguf",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "line 1: "),
        ("[]", "AttributeError"),
        ('{"a/b": {"revision": "main", "files": {}}}', "'main', which is no commit"),
        ('{"a/b": {"files": {}}}', "revision"),
        (
            json.dumps(
                {"a/b": {"revision": COMMIT, "files": {"../x": {"size": 1, "sha256": "0" * 64}}}}
            ),
            "'../x' is no path inside a repository",
        ),
        (
            json.dumps({"a/b": {"revision": COMMIT, "files": {"x": {"size": 1, "md5": "0"}}}}),
            "is not a size and one hash",
        ),
    ],
)
def test_a_lock_that_cannot_be_used(text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert str(caught.value).startswith("weights.lock.json is 'damaged': ")
    assert problem in str(caught.value)
    assert str(caught.value).endswith("or remove it and type: make pin.")


def test_no_lock_is_no_pins(tmp_path: Path) -> None:
    assert pins.read(tmp_path / "weights.lock.json") == {}


def test_what_a_new_pin_changes_is_said_file_by_file() -> None:
    before = a_pin(a_file("a.gguf"), a_file("b.gguf"), a_file("c.gguf"))
    after = a_pin(
        a_file("a.gguf"), a_file("b.gguf", 2_000_000_000, "b"), a_file("d.gguf"), revision=LATER
    )
    assert difference(before, after) == [
        f"{GEMMA}: {COMMIT} -> {LATER}",
        "  ~ b.gguf (0.0 MB -> 2.00 GB, sha256 bbbbbbbbbbbb)",
        "  - c.gguf (0.0 MB)",
        "  + d.gguf (0.0 MB)",
    ]
    assert difference(None, after) == [f"{GEMMA}: new, {LATER}, 3 files, 2.00 GB"]
    assert difference(after, after) == [f"{GEMMA}: unchanged, {LATER}"]


def host(*groups: str, **values: Any) -> tuple[HostData, HostSettings]:
    data = HostData("box", groups, values, lambda key: "group_data/all.py")
    return data, of(data)


def test_what_is_not_pinned_is_not_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pins, "read", dict)
    with pytest.raises(SettingsError) as caught:
        check_pins(*host("laptops", routes=ROUTES, serve=["claude-fable5"]))
    assert str(caught.value) == (
        f"group_data/all.py: routes['claude-fable5'].weights is {GEMMA!r}: weights.lock.json has "
        "no pin of it, and only what is pinned is pulled. Type: make pin, and commit that file."
    )
    check_pins(*host("workstations", routes=ROUTES))


def test_what_is_pinned_is_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    pin = a_pin(a_file("x-Q4_K_M.gguf"), a_file("x-Q6_K.gguf"), a_file("x-Q6_K_L.gguf"))
    monkeypatch.setattr(pins, "read", lambda: {GEMMA: pin})
    some = {"claude-fable5": {**ROUTES["claude-fable5"], "quants": ["Q4_K_M", "Q6_K"]}}
    data, settings = host("laptops", routes=some, serve=["claude-fable5"])
    check_pins(data, settings)
    found = settings.serves[0].model.weights
    assert isinstance(found, HubWeights)
    assert [file.path for file in found.pinned.files] == ["x-Q4_K_M.gguf", "x-Q6_K.gguf"]


def test_a_quant_that_a_laptop_may_choose_has_to_be_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    pin = a_pin(a_file("x-Q4_K_M.gguf"))
    monkeypatch.setattr(pins, "read", lambda: {GEMMA: pin})
    with pytest.raises(SettingsError, match=r"matches '\*Q2_K.gguf'. .* Type: make pin"):
        check_pins(*host("laptops", routes=ROUTES, serve=["claude-fable5"]))


def test_a_pin_without_the_wanted_files_says_what_there_is() -> None:
    with pytest.raises(
        SettingsError, match=r"matches '\*Q9\*'. It has x-Q6_K.gguf. Type: make pin"
    ):
        _ = weights("*Q9*", pin=a_pin(a_file("x-Q6_K.gguf"))).pinned


@pytest.mark.parametrize(
    ("names", "served"),
    [
        (["m.gguf", "config.json"], "m.gguf"),
        (["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"], "m-00001-of-00002.gguf"),
        (["a.gguf", "b.gguf"], None),
        (["config.json"], None),
    ],
)
def test_llama_cpp_is_given_one_file(names: list[str], served: str | None) -> None:
    found = weights("*", pin=a_pin(*map(a_file, names)))
    if served:
        assert found.gguf == served
    else:
        with pytest.raises(SettingsError, match=r"GGUF files, and one is served"):
            _ = found.gguf


def test_a_pickle_is_refused_unless_it_is_asked_for() -> None:
    pin = a_pin(a_file("model.bin"))
    with pytest.raises(SettingsError, match="is a pickle, which can execute code"):
        _ = weights("*", pin=pin).pinned
    assert weights("*", pin=pin, pickle=True).pinned == pin


def test_two_models_of_one_repository_are_one_pull() -> None:
    (one,) = together([weights("a*"), weights("b*"), weights("a*")])
    assert one.files == ("a*", "b*")


def test_the_pin_of_the_catalog_is_looked_up_and_never_invented() -> None:
    found = [one.weights for one in MODELS.values()]
    assert all(one.pin is None for one in found if isinstance(one, HubWeights))
    tracked = ROOT / "weights.lock.json"
    assert not tracked.exists() or parse(tracked.read_text())


MIRROR = {"host": "mirror-01", "port": 8880, "token_file": "geheim"}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"hub_endpoint": "huggingface.co"}, "hub_endpoint is 'huggingface.co': it is not the add"),
        ({"hub_endpoint": "https://a:b@x"}, "hub_endpoint is 'https://a:b@x': it is not the add"),
        ({"hub_token_env": "NOT_SET_X"}, "hub_token_env is 'NOT_SET_X': this variable is not set"),
        (
            {"hub_token_env": "PATH", "hub_token_file": "x"},
            "hub_token_env is 'PATH': hub_token_file is set as well",
        ),
        ({"mirror": {"host": "m"}}, "mirror.port is None: it cannot be left out"),
        ({"mirror": {"host": "m", "port": "1"}}, "mirror.port is '1': it has to be a whole number"),
        ({"mirror": {**MIRROR, "prot": 1}}, "mirror.prot is 1: nothing reads this key"),
        ({"mirror": {**MIRROR, "host": "http://m"}}, "mirror.host is 'http://m': it is not a host"),
    ],
)
def test_a_source_that_cannot_work(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        source(values, lambda key: "group_data/all.py")
    assert str(caught.value).startswith(f"group_data/all.py: {sentence}")


def test_a_token_is_not_sent_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_geheim")
    values = {"hub_token_env": "HF_TOKEN", "hub_endpoint": "http://hub.example"}
    with pytest.raises(SettingsError, match=r"would go there in clear\. Use https"):
        source(values, lambda key: "all.py")
    for fine in ("https://hub.example", "http://127.0.0.1:8000"):
        assert source({**values, "hub_endpoint": fine}, lambda key: "all.py").hub.token


def test_the_mirror_is_asked_first_and_the_hub_only_where_that_is_allowed() -> None:
    spec = {"host": "mirror-01", "port": 8880, "open_to_network": True}
    alone = source({"mirror": spec}, lambda key: "all.py")
    assert [one.url for one in alone.servers] == ["http://mirror-01:8880"]
    both = source({"mirror": {**spec, "fall_back": True}}, lambda key: "all.py")
    assert [one.url for one in both.servers] == ["http://mirror-01:8880", "https://huggingface.co"]
    assert source({}, lambda key: "all.py").servers == [both.hub]


def test_the_mirror_itself_asks_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {"host": "mirror-01", "port": 8880, "open_to_network": True}
    _, settings = host("mirror", routes=ROUTES, mirror=spec)
    assert settings.source.mirror is None
    assert [route.alias for route in settings.mirrors] == ["claude-fable5"]


def test_what_a_host_is_told_is_what_is_pinned() -> None:
    pin = a_pin(a_file("x-Q4_K_M.gguf"), a_file("x-Q6_K.gguf"))
    told = source({}, lambda key: "").desired(weights("*Q4*", pin=pin), "/w", None)
    assert told["revision"] == COMMIT
    assert [file_of(*item) for item in told["files"].items()] == [a_file("x-Q4_K_M.gguf")]
    assert (
        replace(pin, files=(a_file("x-Q4_K_M.gguf"),)).digest
        == weights("*Q4*", pin=pin).pinned.digest
    )


def test_a_path_out_of_the_repository_is_refused() -> None:
    for path in ("", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\0b"):
        with pytest.raises(Problem):
            file_of(path, {"size": 1, "sha256": "0" * 64})
