"""The weights of what is served here: whole, unchanged, and of the revision that is pinned."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any, Optional

from .commands import under
from .table import WEIGHTS, Area, Check, Context, Subject, Values
from .wanted import SYSTEM, Weights


@dataclass(frozen=True)
class Found:
    """`state` and `revision` are pull.py's of what is there. `missing`, `changed` and `corrupt` are
    files of it; those with another hash are found with --deep only. `pull` is what the last pull
    says of itself. `abandoned` are revisions that nothing keeps, `unneeded` directories of other
    weights that nothing here serves; `free` are bytes of the disk. `root`: the files are root's.
    `mirrored`: they are only for others to pull."""

    wanted: Weights
    state: str
    revision: str
    digest: str
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    corrupt: tuple[str, ...]
    pull: Mapping[str, Any]
    abandoned: tuple[str, ...]
    unneeded: tuple[str, ...]
    free: int
    root: bool
    mirrored: bool

    @property
    def is_right(self) -> bool:
        """Whether the pinned revision is what is there, its files aside."""
        return self.revision == self.wanted.revision and self.digest == self.wanted.digest

    @property
    def is_pulled(self) -> bool:
        return self.pull["state"] not in ("none", "complete", "failed", "interrupted")


def look(context: Context) -> Iterator[Subject[Found]]:
    served = [(one.alias, one.weights) for one in context.wanted.services if one.weights]
    directories = [weights.directory for _, weights in served]
    mirrored = [one for one in context.wanted.mirrored if one.directory not in directories]
    held = [*served, *(("", weights) for weights in mirrored)]
    if not held:
        return
    unneeded = _unneeded([weights.directory for _, weights in held], context)
    with ThreadPoolExecutor(len(held)) as pool:
        found = list(pool.map(lambda one: _subject(one[0], one[1], context), held))
    found[0] = replace(found[0], seen=replace(found[0].seen, unneeded=unneeded))  # said once
    yield from found


def _subject(alias: str, weights: Weights, context: Context) -> Subject[Found]:
    """`alias` is "" where only a mirror has them."""
    # Here, and not above: machines without weights need not wait for it.
    from ..remote import pull

    root = under(context, weights.directory)
    status = pull.status(root, weights.digest, context.deep)
    place = pull.Place(root, status["revision"])
    entries = place.manifest()["files"]
    missing = [path for path in status["bad"] if pull.stamp(place.snapshot / path) is None]
    there = [path for path in status["bad"] if path not in missing]
    corrupt = [path for path in there if pull.unchanged(place.snapshot / path, entries[path])]
    seen = Found(
        wanted=weights,
        state=status["state"],
        revision=status["revision"],
        digest=status["digest"] or "",
        missing=tuple(missing),
        changed=tuple(path for path in there if path not in corrupt),
        corrupt=tuple(corrupt),
        pull=pull.progress_of(root),
        abandoned=tuple(status["abandoned"] if status["state"] == "complete" else ()),
        unneeded=(),
        free=_free(root),
        root=context.wanted.manager == SYSTEM,
        mirrored=not alias,
    )
    values = {"alias": alias or "the mirror", "repo": weights.repo}
    return Subject(alias or weights.repo, seen, values)


def _unneeded(served: list[str], context: Context) -> tuple[str, ...]:
    """Weights that no service here is of, nor any that runs, or that it could be taken back to."""
    top = "%s/weights" % context.wanted.directory
    there = [
        "%s/%s" % (top, one.relative_to(under(context, top))) for one in _two_deep(top, context)
    ]
    others = [path for path in sorted(there) if path not in served]
    if not others:
        return ()
    files = [under(context, one.definition) for one in context.wanted.services]
    for kind in ("state/*", "service/*.json"):  # those of pulls as well
        files += under(context, context.wanted.directory).glob(kind)
    files += under(context, "/proc").glob("[0-9]*/cmdline")
    texts = list(map(_text, files))
    return tuple(
        path for path in others if not any(path + end in text for text in texts for end in '/"')
    )


def _two_deep(top: str, context: Context) -> Iterator[Path]:
    """A repository's directory is owner/name."""
    return (one for one in under(context, top).glob("*/*") if one.is_dir())


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").replace("%%", "%")
    except OSError:
        return ""


def _free(directory: Path) -> int:
    there = next(one for one in (directory, *directory.parents) if one.exists())
    return shutil.disk_usage(there).free


# What can be wrong with them


def _why(found: Found) -> Optional[str]:
    """Why the pinned revision is not there, by the name of the one check that says so."""
    if found.is_right:
        return None
    if found.is_pulled:
        return "at work"
    if found.pull["state"] == "failed":
        return "failed"
    if found.pull["state"] == "interrupted":
        return "interrupted"
    return "old" if found.revision and found.revision != found.wanted.revision else "missing"


def _missing(found: Found) -> Iterator[Values]:
    own = _of_mirror(found, "is not there, or not whole: no host can pull it from here")
    if _why(found) == "missing":
        yield own
    elif found.missing and not found.is_pulled:
        yield {**own, "detail": _some(found.missing)}


def _of_mirror(found: Found, what: str) -> Values:
    """The symptom where no server here is started from them."""
    return {"symptom": "%s %s" % (found.wanted.repo, what)} if found.mirrored else {}


def _at_work(found: Found) -> Iterator[Values]:
    if _why(found) == "at work":
        done, total = found.pull.get("bytes_done", 0), found.pull.get("bytes_total", 0)
        share = "%.0f %%" % (100 * done / total) if total else found.pull["state"]
        rate = found.pull.get("rate", 0) / 1e6
        yield {"share": share, "detail": "%.1f MB in a second" % rate if rate else ""}


def _failed(found: Found) -> Iterator[Values]:
    if _why(found) == "failed":
        yield {"detail": str(found.pull.get("message", ""))[:300]}


def _interrupted(found: Found) -> Iterator[Values]:
    if _why(found) == "interrupted":
        yield {}


def _old(found: Found) -> Iterator[Values]:
    if _why(found) == "old":
        wanted = "%s is pinned" % found.wanted.revision[:12]
        yield {"revision": found.revision[:12], "detail": wanted}


def _changed(found: Found) -> Iterator[Values]:
    if found.changed:
        own = _of_mirror(found, "was changed here: hosts that pull it refuse it")
        yield {**own, "detail": _some(found.changed)}


def _corrupt(found: Found) -> Iterator[Values]:
    if found.corrupt:
        paths = ["%s/current/%s" % (found.wanted.directory, one) for one in found.corrupt]
        files = " ".join(map(quote, paths))
        own = _of_mirror(found, "has other bytes here: hosts that pull it refuse it")
        values = {"files": files, "detail": _some(found.corrupt)}
        yield {**own, **values, **_as_root(_TOUCH, found, files)}


def _as_root(fix: str, found: Found, files: str) -> Values:
    """The fix as it works where the files are root's."""
    return {"fix": "sudo " + fix.format(files=files)} if found.root else {}


def _is_short(found: Found) -> bool:
    """Whether the next revision has no room beside this one."""
    return found.free < found.wanted.size


def _abandoned(found: Found) -> Iterator[Values]:
    if found.abandoned and _is_short(found):
        yield {"detail": ", ".join(name[:12] for name in found.abandoned)}


def _others(found: Found) -> Iterator[Values]:
    if found.unneeded and _is_short(found):
        files = " ".join(map(quote, found.unneeded))
        yield {"files": files, **_as_root(_REMOVE, found, files)}


def _some(files: tuple[str, ...]) -> str:
    more = " and %d more" % (len(files) - 3) if len(files) > 3 else ""
    return ", ".join(files[:3]) + more


_TOUCH = (
    "touch {files}; then run the deploy again: it reads what was touched anew, and pulls what is "
    "wrong"
)
_REMOVE = "rm -r {files}"
_AGAIN = "run the deploy again: it pulls what is missing, and proves every file"

CHECKS: tuple[Check[Found], ...] = (
    Check(
        "weights-missing",
        WEIGHTS,
        symptom="the server of {alias} does not start: {repo} is not there, or not whole",
        cause="files of the weights are missing",
        fix=_AGAIN,
        source="remote/pull.py status",
        find=_missing,
    ),
    Check(
        "pull-at-work",
        WEIGHTS,
        symptom="{repo} is being pulled: {share} are there",
        cause="the pull is not done",
        fix="wait for it; to watch it, run the deploy again",
        source="remote/pull.py progress",
        find=_at_work,
    ),
    Check(
        "pull-failed",
        WEIGHTS,
        symptom="the pinned revision of {repo} is not there: its pull failed",
        cause="the last pull failed",
        fix="do what the words in brackets say, then run the deploy again: it goes on from "
        "where it was",
        source="remote/pull.py progress",
        find=_failed,
    ),
    Check(
        "pull-interrupted",
        WEIGHTS,
        symptom="the pinned revision of {repo} is not there: its pull ended in the middle",
        cause="the last pull was interrupted, and nothing has started it again",
        fix="run the deploy again: it goes on from where it was",
        source="remote/pull.py progress: who pulls holds a lock",
        find=_interrupted,
    ),
    Check(
        "old-weights",
        WEIGHTS,
        symptom="{alias} serves revision {revision} of {repo}",
        cause="another revision of the weights is there than the pinned one",
        fix="run the deploy again: it pulls the pinned one, beside this one",
        source="weights.lock.json; the link `current`",
        find=_old,
    ),
    Check(
        "weights-changed",
        WEIGHTS,
        symptom="{alias} answers nonsense, or does not start: files of {repo} were changed",
        cause="files of the weights have another size or time than when they were proven",
        fix=_AGAIN,
        source="remote/pull.py status",
        find=_changed,
    ),
    Check(
        "weights-corrupt",
        WEIGHTS,
        symptom="{alias} answers nonsense, or crashes: files of {repo} have other bytes",
        cause="files of the weights have another hash than when they were proven: the disk, or "
        "its memory, is at fault",
        fix=_TOUCH,
        source="remote/pull.py status --deep; found with homeport-doctor --deep only",
        find=_corrupt,
    ),
    Check(
        "abandoned-revisions",
        WEIGHTS,
        symptom="the disk is short, and has revisions of {repo} that nothing keeps",
        cause="abandoned revisions of the weights fill the disk",
        fix="run the deploy again: it removes what no server runs from",
        source="remote/pull.py status; short: less than the next revision needs",
        find=_abandoned,
        warning=True,
    ),
    Check(
        "abandoned-weights",
        WEIGHTS,
        symptom="the disk is short, and has weights that nothing here serves",
        cause="abandoned weights fill the disk",
        fix=_REMOVE,
        source="neither deployed nor in a running command; short: less than the next revision "
        "needs",
        find=_others,
        warning=True,
    ),
)

AREA = Area("weights", look, CHECKS, facts=lambda found: {"weights": found.revision[:12]})
