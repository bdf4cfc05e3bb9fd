"""Add to a JSON object that somebody else owns, and take exactly that away again. Pure, and for
Python 3.9, as the doctor reads records with it.

What was added is a *record*: a list of `Addition`s, each a path and a value. Keys that are there
already are the owner's and stay as they are; so does everything that is not in the record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_MISSING: Any = object()


class JsonError(ValueError):
    """A text that is not a JSON object; the message says where and why."""


@dataclass(frozen=True)
class Addition:
    """One thing that was added: a scalar at `path`, an item of the list at `path`, or, where
    `kind` is "object" or "list", the empty container that had to be made for others."""

    path: tuple[str, ...]
    kind: str  # "value", "item", "object" or "list"
    value: Any = None

    def to_json(self) -> Json:
        return {"path": list(self.path), "kind": self.kind, "value": self.value}

    @classmethod
    def from_json(cls, data: Json) -> Addition:
        return cls(tuple(data["path"]), data["kind"], data["value"])


@dataclass(frozen=True)
class Merged:
    """The merged `document`, the `record` of what in it is ours, and the dotted paths `kept`,
    where the owner's own value differs from the wanted one and was left alone."""

    document: Json
    record: tuple[Addition, ...]
    kept: tuple[str, ...]


def parse(text: str) -> Json:
    """The JSON object in `text`, keys in order; raises `JsonError` with line and column."""
    try:
        document = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        json.dumps(document, allow_nan=False)  # 1e999 parses as infinity
    except json.JSONDecodeError as error:
        raise JsonError(f"line {error.lineno} column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise JsonError("it is nested too deeply") from None
    except ValueError as error:
        raise JsonError(str(error)) from None
    if not isinstance(document, dict):
        raise JsonError("line 1 column 1: the file holds something other than a { } object")
    return document


def render(document: Json, like: str = "") -> str:
    """`document` as JSON, indented as the text `like` is (two spaces where that says nothing)."""
    text = json.dumps(document, indent=_indent(like), ensure_ascii=False)
    if any("\ud800" <= character <= "\udfff" for character in text):
        text = json.dumps(document, indent=_indent(like))  # half a surrogate pair has no UTF-8
    return text if like and not like.endswith("\n") else f"{text}\n"


def merge(document: Json, wanted: Json, record: tuple[Addition, ...] = ()) -> Merged:
    """`document` with `wanted` in it; `record` is what earlier merges added.

    A value that an earlier merge put there and nobody changed follows `wanted`; what is recorded
    and no longer wanted is taken away.
    """
    result = deepcopy(document)
    targets = list(_flatten(wanted))
    ours: list[Addition] = []
    kept: list[str] = []
    for target in targets:
        if _among(target, ours):
            continue  # an item that is wanted twice
        if holds(result, target):
            if _among(target, record):
                ours.append(target)
        elif _put(result, target, record):
            ours.append(target)
        else:
            kept.append(".".join(target.path))
    _remove_all(result, [old for old in record if not _among(old, targets)])
    return Merged(result, tuple(ours), tuple(dict.fromkeys(kept)))


def unmerge(document: Json, record: tuple[Addition, ...]) -> Json:
    """`document` without what `record` says was added and nobody changed since."""
    result = deepcopy(document)
    _remove_all(result, record)
    return result


def _flatten(wanted: Json, path: tuple[str, ...] = ()) -> Iterator[Addition]:
    for key, value in wanted.items():
        here = (*path, key)
        if isinstance(value, dict):
            yield Addition(here, "object")
            yield from _flatten(value, here)
        elif isinstance(value, list):
            yield Addition(here, "list")
            yield from (Addition(here, "item", item) for item in value)
        else:
            yield Addition(here, "value", value)


def holds(document: Json, target: Addition) -> bool:
    """Whether `target` stands in `document`."""
    found = _find(document, target.path)
    if target.kind in ("object", "list"):
        return isinstance(found, dict if target.kind == "object" else list)
    if target.kind == "item":
        return isinstance(found, list) and any(_same(item, target.value) for item in found)
    return _same(found, target.value)


def lacks(document: Json, target: Addition) -> bool:
    """Whether `target` is gone from `document`, and nothing else stands there either."""
    if target.kind == "item":
        return not holds(document, target)
    return _find(document, target.path) is _MISSING


def _put(document: Json, target: Addition, record: tuple[Addition, ...]) -> bool:
    """Add `target`; False where something of the owner's is in its place."""
    if target.kind == "item":
        found = _find(document, target.path)
        if not isinstance(found, list):
            return False
        found.append(deepcopy(target.value))
        return True
    *parents, key = target.path
    parent = _find(document, tuple(parents))
    if not isinstance(parent, dict):
        return False
    if key in parent and not _among(Addition(target.path, "value", parent[key]), record):
        return False
    parent[key] = {"object": {}, "list": []}.get(target.kind, target.value)
    return True


def _remove_all(document: Json, additions: Iterable[Addition]) -> None:
    for addition in reversed(list(additions)):
        *parents, key = addition.path
        parent = _find(document, tuple(parents))
        if not isinstance(parent, dict) or key not in parent:
            continue
        if addition.kind == "item":
            items = parent[key]
            if isinstance(items, list) and holds(document, addition):
                # The last one: ours was appended.
                last = max(i for i, item in enumerate(items) if _same(item, addition.value))
                del items[last]
        elif addition.kind == "value":
            if _same(parent[key], addition.value):
                del parent[key]
        elif parent[key] in ({}, []):
            del parent[key]


def _find(document: Json, path: tuple[str, ...]) -> Any:
    """What stands at `path`; `_MISSING` where nothing does."""
    found: Any = document
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return _MISSING
        found = found[key]
    return found


def _among(addition: Addition, additions: Iterable[Addition]) -> bool:
    return any(_same(addition.to_json(), other.to_json()) for other in additions)


def _same(left: Any, right: Any) -> bool:
    """Equal as JSON: unlike Python's ==, true is not 1 and 1 is not 1.0."""
    if left is _MISSING or right is _MISSING:
        return False
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def _indent(text: str) -> int | str:
    for line in text.splitlines()[1:]:
        stripped = line.lstrip()
        if stripped:
            space = line[: len(line) - len(stripped)]
            return space if space.startswith("\t") else len(space) or 2
    return 2


def _no_duplicates(pairs: list[tuple[str, Any]]) -> Json:
    document: Json = {}
    for key, value in pairs:
        if key in document:
            raise ValueError(f"the key {key!r} stands in it twice, and one of them would be lost")
        document[key] = value
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
