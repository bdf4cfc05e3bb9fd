"""Merging into a user's JSON adds what is missing; taking it away again leaves no trace."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport.claude_code import NEUTRAL_SETTINGS
from homeport.merge import Addition, JsonError, merge, parse, render, unmerge

KEYS = st.sampled_from(["env", "permissions", "deny", "disableAutoMode", "hooks", "ä b", ""])
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("WebSearch")
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)


def same(left: Any, right: Any) -> bool:
    """Equal to the byte: order of keys too, and true is not 1."""
    return json.dumps(left) == json.dumps(right)


@given(DOCUMENTS, DOCUMENTS)
def test_round_trip(document: dict[str, Any], wanted: dict[str, Any]) -> None:
    merged = merge(document, wanted)
    assert same(unmerge(merged.document, merged.record), document)


@given(DOCUMENTS, DOCUMENTS)
def test_merging_twice_changes_nothing(document: dict[str, Any], wanted: dict[str, Any]) -> None:
    first = merge(document, wanted)
    second = merge(first.document, wanted, first.record)
    assert same(second.document, first.document)
    assert second.record == first.record


@given(DOCUMENTS, DOCUMENTS, DOCUMENTS)
def test_a_later_wish_replaces_the_earlier(
    document: dict[str, Any], earlier: dict[str, Any], later: dict[str, Any]
) -> None:
    first = merge(document, earlier)
    second = merge(first.document, later, first.record)
    assert same(unmerge(second.document, second.record), document)


@given(DOCUMENTS, DOCUMENTS)
def test_nothing_of_the_owner_is_lost(document: dict[str, Any], wanted: dict[str, Any]) -> None:
    def holds(whole: Any, part: Any) -> bool:
        if isinstance(part, dict):
            return isinstance(whole, dict) and all(
                key in whole and holds(whole[key], value) for key, value in part.items()
            )
        if isinstance(part, list):
            return isinstance(whole, list) and same(whole[: len(part)], part)
        return same(whole, part)

    before = deepcopy(document)
    assert holds(merge(document, wanted).document, before)
    assert same(document, before), "the argument itself was changed"


@given(DOCUMENTS)
def test_the_record_survives_its_file(wanted: dict[str, Any]) -> None:
    record = merge({}, wanted).record
    stored = json.loads(json.dumps([addition.to_json() for addition in record]))
    assert tuple(Addition.from_json(one) for one in stored) == record


@given(DOCUMENTS, st.sampled_from(["", '{\n  "a": 1\n}', '{\n\t"a": 1\n}\n', '{"a":1}']))
def test_rendered_text_parses_back(document: dict[str, Any], like: str) -> None:
    assert same(parse(render(document, like)), document)


def test_what_the_user_changed_since_stays() -> None:
    merged = merge({"model": "opus"}, NEUTRAL_SETTINGS)
    theirs = deepcopy(merged.document)
    theirs["permissions"]["defaultMode"] = "plan"
    theirs["permissions"]["deny"].append("Read(.env)")
    theirs["env"]["MINE"] = "1"
    assert unmerge(theirs, merged.record) == {
        "model": "opus",
        "env": {"MINE": "1"},
        "permissions": {"defaultMode": "plan", "deny": ["Read(.env)"]},
    }


def test_a_value_of_the_users_own_is_kept_and_named() -> None:
    merged = merge({"permissions": {"defaultMode": "plan"}}, NEUTRAL_SETTINGS)
    assert merged.document["permissions"]["defaultMode"] == "plan"
    assert merged.kept == ("permissions.defaultMode",)


def test_an_item_that_was_there_before_is_not_taken_away() -> None:
    document = {"permissions": {"deny": ["WebSearch"]}}
    merged = merge(document, NEUTRAL_SETTINGS)
    assert unmerge(merged.document, merged.record) == document


def test_a_value_follows_the_wish_unless_the_user_changed_it() -> None:
    first = merge({}, {"env": {"A": "1", "B": "1"}})
    first.document["env"]["B"] = "mine"
    second = merge(first.document, {"env": {"A": "2", "B": "2"}}, first.record)
    assert second.document == {"env": {"A": "2", "B": "mine"}}
    assert second.kept == ("env.B",)


def test_order_and_indentation_of_the_user() -> None:
    text = '{\n\t"z": 1,\n\t"a": {"y": 2, "b": 3}\n}'
    rendered = render(merge(parse(text), {"env": {"X": "1"}}).document, text)
    assert rendered.startswith('{\n\t"z": 1,\n\t"a": {\n\t\t"y": 2,')
    assert not rendered.endswith("\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"a": 1,}', "line 1 column"),
        ('{\n  "a": 1\n  "b": 2\n}', "line 3 column 3"),
        ("// comment\n{}", "line 1 column 1"),
        ("[]", "something other than"),
        ('"text"', "something other than"),
        ('{"a": 1, "a": 2}', "'a' stands in it twice"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": 1e999}', "not JSON compliant"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_a_json_object(text: str, complaint: str) -> None:
    with pytest.raises(JsonError, match=complaint):
        parse(text)
