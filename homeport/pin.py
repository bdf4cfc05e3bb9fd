"""`make pin`: look every model of the catalog up on the Hub, and write weights.lock.json.

usage: python -m homeport.pin [--revision COMMIT] [MODEL ...]
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import tempfile
from pathlib import Path

from . import ROOT, pins
from .catalog import MODELS
from .errors import SettingsError
from .remote.pull import Again, Hub, Problem, chosen, prepare
from .sources import hub_of
from .weights import HubWeights

#: What is pinned where no commit is named; what it points to today is written down.
BRANCH = "main"


def main(argv: list[str] | None = None) -> int:
    known = {
        name: one.weights for name, one in MODELS.items() if isinstance(one.weights, HubWeights)
    }
    parser = argparse.ArgumentParser(prog="make pin", allow_abbrev=False)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--revision", default=BRANCH)
    options = parser.parse_args(argv)
    for model in options.models:
        if model not in known:
            sys.exit(
                f"homeport: no model {model!r} comes from the Hub. Known are {', '.join(known)}"
            )
    if options.revision != BRANCH and len(options.models) != 1:
        sys.exit("homeport: a revision is one model's: make pin MODEL=... REVISION=...")
    wanted: dict[str, list[HubWeights]] = {}
    for model in options.models or known:
        wanted.setdefault(known[model].repo, [])
    for weights in known.values():
        wanted.get(weights.repo, []).append(weights)
    try:
        return _pin(wanted, options.revision)
    except SettingsError as error:
        sys.exit(f"homeport: {error}")


def _pin(wanted: dict[str, list[HubWeights]], revision: str) -> int:
    name = "group_data/all.py"
    try:
        values = runpy.run_path(str(ROOT / name))
    except Exception as error:
        sys.exit(f"homeport: {name}: {type(error).__name__}: {error}")
    hub = hub_of(values, lambda key: name)
    before = pins.read()
    after = dict(before)
    failed = False
    with tempfile.TemporaryDirectory() as cache:
        hubs = {repo: Hub(hub.url, repo, revision, hub.secret) for repo in wanted}
        prepare(list(hubs.values())[:1], Path(cache))
        for repo, weights in wanted.items():
            try:
                after[repo] = _looked_up(hubs[repo], weights)
            except (Again, Problem) as error:
                failed = True
                print(f"homeport: {repo} is not pinned: {error}", file=sys.stderr)
            else:
                print("\n".join(pins.difference(before.get(repo), after[repo])))
    if after != before:
        new = pins.LOCK.with_name(f"{pins.LOCK.name}.{os.getpid()}")
        new.write_text(pins.written(after))
        new.replace(pins.LOCK)
        print(f"written: {pins.LOCK.name}. Look it over (git diff) and commit it")
    return int(failed)


def _looked_up(hub: Hub, weights: list[HubWeights]) -> pins.Pin:
    """The commit and the files that `weights`, all of one repository, want of it."""
    commit, files = hub.listing()
    found = [
        file for one in weights for file in chosen(files, one.files, hub.repo, commit, one.pickle)
    ]
    return pins.Pin(hub.repo, commit, tuple(sorted(set(found), key=lambda file: file.path)))


if __name__ == "__main__":
    sys.exit(main())
