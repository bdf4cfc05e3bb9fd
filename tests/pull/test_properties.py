"""What holds for any input."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from homeport.remote import pull

SPEC = {"size": 1, "sha256": "0" * 64}

texts = st.text(st.sampled_from("ab./\\ \0\nä~$*\ud800"), max_size=12)
names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(
    lambda name: name not in (".", "..") and not name.endswith(pull.PART)
)
LENGTHS = {"sha256": 64, "git_sha1": 40}
files = st.builds(
    lambda path, size, kind, digits: pull.File(path, size, kind, digits[: LENGTHS[kind]]),
    st.lists(names, min_size=1, max_size=3).map("/".join),
    st.integers(0, 2**40),
    st.sampled_from([*LENGTHS]),
    st.text("0123456789abcdef", min_size=64, max_size=64),
)


@given(texts)
@example("../x")
@example("a/../../b")
@example("/etc/x")
@example("a/..")
@example("")
@example(".")
@example("//x")
@example("\ud800")
def test_no_file_is_outside_of_its_revision(path: str) -> None:
    """Refused, or a path that can be written, below the directory and not the directory itself."""
    try:
        file = pull.file_of(path, SPEC)
    except pull.Problem:
        return
    root = "/data/weights/commit"
    target = os.path.normpath(f"{root}/{file.path}")
    assert target.startswith(f"{root}/")
    assert target == f"{root}/{file.path}", "no two names for one file"
    os.fsencode(target)
    assert "\0" not in target


@given(files)
def test_what_is_written_of_a_file_is_read_again(file: pull.File) -> None:
    assert pull.file_of(file.path, file.spec()) == file


@given(st.lists(files, unique_by=lambda file: file.path), st.randoms())
def test_the_order_does_not_matter(listed: list[pull.File], chance: object) -> None:
    other = listed[::-1]
    getattr(chance, "shuffle")(other)  # noqa: B009
    assert pull.digest("a/b", "0" * 40, listed) == pull.digest("a/b", "0" * 40, other)


@given(st.lists(files, min_size=1, max_size=4, unique_by=lambda file: file.path), st.data())
def test_any_difference_matters(listed: list[pull.File], data: st.DataObject) -> None:
    right = pull.digest("a/b", "0" * 40, listed)
    at = data.draw(st.integers(0, len(listed) - 1))
    file = listed[at]
    changes = [
        pull.File(file.path + "x", file.size, file.kind, file.hash),
        pull.File(file.path, file.size + 1, file.kind, file.hash),
        pull.File(file.path, file.size, file.kind, file.hash[::-1] + "0"),
    ]
    for change in changes:
        assert pull.digest("a/b", "0" * 40, [*listed[:at], change, *listed[at + 1 :]]) != right
    assert pull.digest("a/b", "0" * 40, listed[:at] + listed[at + 1 :]) != right
    assert pull.digest("a/b", "1" * 40, listed) != right
    assert pull.digest("a/c", "0" * 40, listed) != right


@given(st.lists(files, max_size=6, unique_by=lambda file: file.path))
def test_what_is_chosen_matches_and_is_sorted(listed: list[pull.File]) -> None:
    chosen = pull.chosen(listed, ["*"] if listed else [], "a/b", "0" * 40, allow_pickle=True)
    assert [file.path for file in chosen] == sorted(file.path for file in listed)


@pytest.mark.parametrize("ending", pull.PICKLE)
def test_every_kind_of_pickle_is_refused(ending: str) -> None:
    listed = [pull.file_of(f"folder/model{ending}", SPEC)]
    with pytest.raises(pull.Problem, match="is a pickle"):
        pull.chosen(listed, ["*"], "a/b", "0" * 40, allow_pickle=False)


@given(st.text(max_size=50))
def test_a_commit_is_40_hex_digits(text: str) -> None:
    assert pull.is_commit(text) == (len(text) == 40 and not set(text) - set("0123456789abcdef"))


@given(st.binary(max_size=200))
def test_any_json_file_can_be_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(data)
    pull.read_json(path)
    pull.read_json(Path(PurePosixPath(path).parent / "nothing.json"))
