"""Pull files of a Hub repository, so that they are whole, proven, and found so again.

usage: pull.py pull DESIRED [--deep]          until every file is there and its hash is right
       pull.py status DESTINATION [DIGEST] [--deep]   what is there, as JSON; no network
       pull.py progress DESTINATION           what the pull at work is doing, as JSON

DESIRED is a JSON file, see `Desired`. `pull` exits with 0 when all is proven, 1 where trying again
may help, 2 where somebody has to do something first; killed at any moment, it goes on from there
the next time. `status` exits with 0 only for "complete". With --deep every file is read and hashed
again, else its size and time of change are believed.

A destination holds
    COMMIT/               the files of a revision; FILE.homeport-part is one that is on its way
    current -> COMMIT     the revision that was complete last
    .homeport/            lock, progress.json, and a manifest for each revision: COMMIT.json

`pull` needs huggingface_hub, for metadata, authentication and xet; the others any Python 3.9.
Nothing from a repository is ever executed.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import fcntl
import fnmatch
import hashlib
import json
import os
import random
import re
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

if TYPE_CHECKING:  # else only where it is needed, so that `status` takes little time
    import urllib.request

Result = TypeVar("Result")
Chunks = Generator[bytes, None, None]

#: Files on their way at the same time. On loopback two cores are busy with four, and eight cost
#: 10 % more CPU (measured); over the internet one connection seldom fills a line.
CONNECTIONS = 6

#: Bytes read at a time (measured, CPU s a GB: 64 KiB 5.1, 256 KiB 2.8, 512 KiB 2.5, 768 KiB 2.6).
CHUNK = 512 * 1024

#: Bytes between two fsync of a file. Without, the kernel collects gigabytes and then stops all
#: writers at once (measured: 420 MB/s without, 620 MB/s with).
SYNC_EVERY = 64 * 1024 * 1024

#: Seconds without a byte after which a connection is given up, and the bytes that have to come
#: in any minute for it not to be.
SILENCE = 30.0
SLOWEST = 256 * 1024
MINUTE = 60.0

#: Seconds between two attempts: twice as many each time, from the first to the second number.
BACKOFF = (1.0, 60.0)

#: Seconds without a byte of any file after which the pull ends; who supervises it starts another.
GIVE_UP = 600.0

#: Seconds that a server may ask to wait, and for which one that asks again and again is believed.
LONGEST_WAIT = 3600.0

#: Failures of one server in a row, without a byte between, after which the fallback is asked.
FAILURES = 3

#: Bytes that have to stay free on the disk, and the share of the pull that is added to them.
MARGIN = 100_000_000
MARGIN_SHARE = 0.01

#: What Python would unpickle, and with that execute.
PICKLE = (".bin", ".pt", ".pt2", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill")

PART = ".homeport-part"

#: What to do where the mirror lacks something.
DEPLOY_MIRROR = "Deploy it first, with --limit mirror"

_PART_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW

_HASH = {"sha256": re.compile(r"[0-9a-f]{64}"), "git_sha1": re.compile(r"[0-9a-f]{40}")}
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(text: Any) -> bool:
    """Whether `text` names a commit, and not a branch, which moves."""
    return isinstance(text, str) and bool(_COMMIT.fullmatch(text))


class Problem(Exception):
    """What stands in the way, and what to do, in words.

    `final`: trying again does not help. `elsewhere`: but another server may have what is missing.
    """

    def __init__(self, words: str, final: bool = True, elsewhere: bool = False) -> None:
        super().__init__(words)
        self.final, self.elsewhere = final, elsewhere


class Again(Exception):
    """Something that passes; `after` is how many seconds the server asked to wait."""

    def __init__(self, words: str, after: float | None = None) -> None:
        super().__init__(words)
        self.after = after


class WrongBytes(Exception):
    """What came is not the file; `unread`: that was found out before a byte of it was taken."""

    def __init__(self, words: str, unread: bool = False) -> None:
        super().__init__(words)
        self.unread = unread


class Halted(Exception):
    """Another file's problem ended the pull."""


# What is wanted


@dataclass(frozen=True)
class File:
    """A file of a revision: its path in the repository, size in bytes, and hash in hex.

    `kind` is "sha256", or "git_sha1" (of the blob) for the small files that are in git itself.
    """

    path: str
    size: int
    kind: str
    hash: str

    def hasher(self) -> Any:
        if self.kind == "sha256":
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)

    def spec(self) -> dict[str, Any]:
        return {"size": self.size, self.kind: self.hash}


def file_of(path: str, spec: dict[str, Any]) -> File:
    """The `File` that is written as path: {"size": ..., "sha256" or "git_sha1": ...}."""
    kinds = [kind for kind in _HASH if kind in spec]
    sound = len(kinds) == 1 and set(spec) == {"size", kinds[0]} and type(spec["size"]) is int
    if not sound or spec["size"] < 0 or not _HASH[kinds[0]].fullmatch(str(spec[kinds[0]])):
        raise Problem(f"{path}: {spec} is not a size and one hash")
    parts = PurePosixPath(path).parts
    unsafe = not parts or path.startswith("/") or ".." in parts
    unsafe = unsafe or any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in path)
    if unsafe or str(PurePosixPath(path)) != path or path.endswith(PART):
        raise Problem(f"{path!r} is no path inside a repository")
    return File(path, spec["size"], kinds[0], str(spec[kinds[0]]))


def recorded(path: str, entry: dict[str, Any]) -> File:
    """The `File` that a manifest's `entry` was written for."""
    return file_of(path, {key: entry[key] for key in entry if key != "mtime_ns"})


@dataclass(frozen=True)
class Desired:
    """What a destination is to hold.

    `patterns` are globs on whole paths. `files` are sizes and hashes by path, as `file_of` reads
    them; without, the endpoint's own list is believed. `fallback` is the endpoint to ask where the
    first is down or lacks something; `mirror`: the first is one of our own. `tokens` is a file with
    {ENDPOINT: TOKEN}; under systemd it is the credential of that name. `keep_previous`: the
    revision before stays until the next; those in `keep` stay as well.
    """

    endpoint: str
    repo: str
    revision: str
    patterns: list[str]
    destination: str
    files: dict[str, dict[str, Any]] | None = None
    fallback: str | None = None
    tokens: str | None = None
    allow_pickle: bool = False
    keep_previous: bool = True
    mirror: bool = False
    keep: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Desired:
        try:
            values = json.loads(path.read_text())
            if unknown := set(values) - {one.name for one in fields(cls)}:
                raise Problem(f"{path}: nothing reads {', '.join(sorted(unknown))}")
            desired = cls(**values)
        except (OSError, ValueError, TypeError) as error:
            raise Problem(f"{path} cannot be read: {error}") from None
        if not is_commit(desired.revision):
            raise Problem(f"{path}: revision {desired.revision!r} is no commit of 40 hex digits")
        return desired

    def pinned(self) -> list[File] | None:
        if self.files is None:
            return None
        files = [file_of(*item) for item in self.files.items()]
        return self.chosen(files)

    def chosen(self, files: list[File]) -> list[File]:
        return chosen(files, self.patterns, self.repo, self.revision, self.allow_pickle)

    def token(self, endpoint: str) -> str | None:
        if self.tokens is None:
            return None
        name = PurePosixPath(self.tokens).name
        credential = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"), name)
        given = credential if credential.exists() else Path(self.tokens)
        try:
            token: str | None = json.loads(given.read_text()).get(endpoint)
        except (OSError, ValueError) as error:
            raise Problem(f"{given} cannot be read: {error}") from None
        return token


def chosen(
    files: list[File], patterns: Iterable[str], repo: str, revision: str, allow_pickle: bool
) -> list[File]:
    """Those of `files` that match one of `patterns`; raises `Problem` where one matches none."""
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(file.path, pattern) for file in files):
            names = sorted(file.path for file in files)
            more = f" and {len(names) - 12} more" if len(names) > 12 else ""
            raise Problem(
                f"nothing in {repo} at {revision[:12]} matches {pattern!r}. It has "
                f"{', '.join(names[:12]) or 'no files'}{more}"
            )
    found = [file for file in files if any(fnmatch.fnmatchcase(file.path, p) for p in patterns)]
    pickled = [file.path for file in found if file.path.lower().endswith(PICKLE)]
    if pickled and not allow_pickle:
        raise Problem(
            f"{pickled[0]} of {repo} is a pickle, which can execute code when it is "
            "loaded. Choose safetensors or GGUF files, or set allow_pickle"
        )
    return sorted(found, key=lambda file: file.path)


def digest(repo: str, revision: str, files: list[File]) -> str:
    """What tells one desired set of files from another."""
    listed = sorted([file.path, file.size, file.kind, file.hash] for file in files)
    return hashlib.sha256(json.dumps([repo, revision, listed]).encode()).hexdigest()


# What is there


@dataclass(frozen=True)
class Place:
    """The paths of a destination, for one revision."""

    root: Path
    revision: str

    @property
    def snapshot(self) -> Path:
        return self.root / self.revision

    @property
    def state(self) -> Path:
        return self.root / ".homeport"

    @property
    def current(self) -> Path:
        return self.root / "current"

    def manifest(self) -> dict[str, Any]:
        """What was written down of it; as of nothing where that was damaged."""
        found = read_json(self.state / f"{self.revision}.json")
        try:
            for path, entry in found["files"].items():
                recorded(path, entry)
                _ = entry["mtime_ns"]
        except (AttributeError, KeyError, TypeError, Problem):
            return {"files": {}}
        return dict(found)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        write_json(self.state / f"{self.revision}.json", manifest, durable=True)

    def revisions(self) -> list[str]:
        """The revisions that anything is left of."""
        names = [path.name for path in self.root.glob("*")]
        names += [path.stem for path in self.state.glob("*.json")]
        return sorted({name for name in names if _COMMIT.fullmatch(name)})


def stamp(path: Path) -> list[int] | None:
    """Size and time of change of a plain file, None where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns] if path.is_file() else None


def unchanged(path: Path, entry: dict[str, Any]) -> bool:
    """Whether the file is still the one that a manifest's `entry` was written for."""
    return stamp(path) == [entry["size"], entry["mtime_ns"]]


def is_right(path: Path, file: File, progress: Callable[[int], None] = lambda size: None) -> bool:
    """Whether the file at `path` has `file`'s size and, read from end to end, its hash."""
    if (found := stamp(path)) is None or found[0] != file.size:
        return False
    hasher = file.hasher()
    with path.open("rb", buffering=0) as content:
        while chunk := content.read(4 * CHUNK):
            hasher.update(chunk)
            progress(len(chunk))
    return bool(hasher.hexdigest() == file.hash)


def status(destination: Path, wanted: str | None = None, deep: bool = False) -> dict[str, Any]:
    """What a destination holds: {"state": "complete", "incomplete" or "missing", ...}.

    "complete" is a revision whose every file is as it was proven to be and, with `wanted`, whose
    digest is that. "bad" are files that are missing, changed, or (deep) have another hash;
    "others" are the revisions beside it, and "abandoned" those of them that nothing keeps;
    "on_disk" are the bytes of all of them, whole or not.
    """
    revision = current_revision(destination) or ""
    place = Place(destination, revision)
    manifest = place.manifest()
    entries: dict[str, dict[str, Any]] = manifest["files"]
    found: dict[str, Any] = {
        "revision": revision,
        "digest": manifest.get("digest"),
        "files": len(entries),
        "bytes": sum(entry["size"] for entry in entries.values()),
        "others": [name for name in place.revisions() if name != revision],
        "abandoned": [
            name for name in place.revisions() if name not in (revision, manifest.get("previous"))
        ],
        "on_disk": bytes_in([destination / name for name in place.revisions()]),
    }

    def good(path: str) -> bool:
        entry = entries[path]
        if not unchanged(place.snapshot / path, entry):
            return False
        return not deep or is_right(place.snapshot / path, recorded(path, entry))

    with ThreadPoolExecutor(os.cpu_count() if deep else 1) as pool:
        verdicts = list(pool.map(good, entries))
    found["bad"] = [path for index, path in enumerate(entries) if not verdicts[index]]
    whole = manifest.get("digest") is not None and not found["bad"]
    complete = whole and wanted in (None, manifest["digest"])
    found["state"] = "complete" if complete else "incomplete" if revision else "missing"
    return found


def bytes_in(folders: list[Path]) -> int:
    """Bytes of the files in `folders`, each counted once however many links it has."""
    sizes = {}
    for top in folders:
        for folder, _, names in os.walk(top):
            for name in names:
                with contextlib.suppress(OSError):
                    found = os.lstat(os.path.join(folder, name))
                    sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())


def current_revision(destination: Path) -> str | None:
    """The revision that `current` points to, None where there is no such link."""
    current = destination / "current"
    return Path(os.readlink(current)).name if current.is_symlink() else None


def progress_of(destination: Path) -> dict[str, Any]:
    """What the pull says of itself; "interrupted" where it was at work and is no more."""
    state = destination / ".homeport"
    found = read_json(state / "progress.json")
    if not isinstance(found, dict) or "state" not in found:
        return {"state": "none"}
    if found["state"] not in ("none", "complete", "failed"):
        with contextlib.suppress(OSError), (state / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            found["state"] = "interrupted"
    return found


def read_json(path: Path) -> Any:
    """None for a file that is not there, or that a power cut left without its content."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def write_json(path: Path, value: Any, durable: bool = False) -> None:
    new = path.with_name(f"{path.name}.new")
    with new.open("w") as file:
        json.dump(value, file, indent=1)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    new.replace(path)
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Where it comes from


class Hub:
    """An endpoint that speaks the Hub's API. `endpoint` is its URL, `token` goes there only; a
    `mirror` is one of our own, so what to do where it lacks something is another thing."""

    def __init__(
        self,
        endpoint: str,
        repo: str,
        revision: str,
        token: str | None = None,
        mirror: bool = False,
    ) -> None:
        self.endpoint, self.repo, self.revision = endpoint.rstrip("/"), repo, revision
        self.token, self.mirror = token, mirror
        self.xet = True
        self._xet_streams: Any = None
        self._lock = threading.Lock()

    def listing(self) -> tuple[str, list[File]]:
        """The commit that `revision` is, and every file in it."""
        import huggingface_hub

        api = huggingface_hub.HfApi(endpoint=self.endpoint, token=False)
        with self.in_words():
            commit = api.repo_info(self.repo, revision=self.revision, timeout=SILENCE).sha or ""
            tree = list(api.list_repo_tree(self.repo, revision=commit, recursive=True))
        files = []
        for entry in tree:
            if not isinstance(entry, huggingface_hub.RepoFile):
                continue
            kind = {"sha256": entry.lfs.sha256} if entry.lfs else {"git_sha1": entry.blob_id}
            files.append(file_of(entry.path, {"size": entry.size, **kind}))
        return commit, files

    def open(self, file: File, offset: int) -> tuple[int, Chunks]:
        """Where the bytes start that the server gives, `offset` or 0, and the bytes."""
        import huggingface_hub

        url = huggingface_hub.hf_hub_url(
            self.repo, file.path, revision=self.revision, endpoint=self.endpoint
        )
        with self.in_words(file):
            found = huggingface_hub.get_hf_file_metadata(
                url, token=False, timeout=SILENCE, endpoint=self.endpoint
            )
        xet = found.xet_file_data
        if self.xet and xet and file.size and origin(xet.refresh_route) == origin(self.endpoint):
            return offset, self._by_xet(xet, file, offset)
        return self._by_http(found.location, file, offset)

    def _by_http(self, url: str, file: File, offset: int) -> tuple[int, Chunks]:
        import urllib.request

        request = urllib.request.Request(urljoin(f"{self.endpoint}/", url))  # noqa: S310
        request.add_header("User-Agent", "homeport")
        for name, value in self.authorization(request.full_url).items():
            request.add_unredirected_header(name, value)
        if offset:
            request.add_header("Range", f"bytes={offset}-")
        with self.in_words(file):
            response = opener(self.mirror).open(request, timeout=SILENCE)
        there = response.headers.get("Content-Range", "")
        start = offset if response.status == 206 else 0
        length = response.headers.get("Content-Length") if response.status == 200 else None
        if response.status == 206 and there != f"bytes {offset}-{file.size - 1}/{file.size}":
            response.close()
            said = there or "no range"
            raise WrongBytes(f"the server has {said}, and {file.size} bytes it is", unread=True)
        if length is not None and int(length) != file.size:
            kind = response.headers.get_content_type()
            response.close()
            said = f"{length} bytes ({kind})"
            raise WrongBytes(f"the server has {said}, and {file.size} it is", unread=True)
        return start, self._chunks(response, file)

    def _chunks(self, response: Any, file: File) -> Chunks:
        with response, self.in_words(file):
            since, received = time.monotonic(), 0
            while chunk := response.read1(CHUNK):
                yield chunk
                received += len(chunk)
                if time.monotonic() - since > MINUTE:
                    if received < SLOWEST:
                        raise Again(
                            f"{origin(self.endpoint)} has stalled: {received} B in a minute"
                        )
                    since, received = time.monotonic(), 0

    def _by_xet(self, xet: Any, file: File, offset: int) -> Chunks:
        """The bytes from xet's storage, where the Hub keeps a file there; `Again` where that fails,
        and then plain HTTP is used for the rest of this run."""
        waits_since: list[float] = []
        over = threading.Event()
        missing = file.size - offset
        try:
            from hf_xet import XetFileInfo

            streams = self._streams(xet)
            stream = streams.download_stream(
                XetFileInfo(xet.file_hash, file.size), start=offset, end=file.size
            )
            threading.Thread(
                target=_abort_when_silent, args=(streams, waits_since, over), daemon=True
            ).start()
            while missing > 0:
                waits_since.append(time.monotonic())
                chunk = next(stream, None)
                waits_since.clear()
                if chunk is None:  # aborted, or the storage lacks the file
                    raise EOFError(f"{missing} bytes of {file.path} do not come")
                missing -= len(chunk)
                yield chunk
        except Exception as error:
            worked, self.xet = self.xet, False
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise Again(
                f"xet fails ({reason}), so it is by plain HTTP from now on"
                if worked
                else f"{file.path} is by plain HTTP, too",
                0,
            ) from None
        finally:
            over.set()

    def _streams(self, xet: Any) -> Any:
        from hf_xet import XetConfig, XetSession
        from huggingface_hub.utils import get_session, hf_raise_for_status
        from huggingface_hub.utils._xet import parse_xet_connection_info_from_headers

        with self._lock:
            if not self.xet:
                raise ConnectionError("it failed for another file")
            if self._xet_streams is None:
                config = XetConfig().with_config(
                    {
                        "telemetry.enabled": False,
                        # Its own defaults take gigabytes, and this runs beside people's work.
                        "reconstruction.download_buffer_size": 128_000_000,
                        "reconstruction.download_buffer_perfile_size": 16_000_000,
                        "reconstruction.download_buffer_limit": 256_000_000,
                        "reconstruction.min_reconstruction_fetch_size": 64_000_000,
                    }
                )
                # Once: huggingface_hub's own function tries for half a minute.
                answer = get_session().get(xet.refresh_route, timeout=SILENCE)
                hf_raise_for_status(answer)
                connection = parse_xet_connection_info_from_headers(answer.headers)
                if connection is None:
                    raise ConnectionError("the Hub does not say where the storage is")
                self._xet_streams = XetSession(config).new_download_stream_group(
                    endpoint=connection.endpoint,
                    token=connection.access_token,
                    token_expiry_unix_secs=connection.expiration_unix_epoch,
                    token_refresh_url=xet.refresh_route,
                    token_refresh_headers=self.authorization(xet.refresh_route),
                )
            return self._xet_streams

    def authorization(self, url: str) -> dict[str, str]:
        """The header that carries the token, for a URL of this endpoint; nothing for any other."""
        if self.token and origin(url) == origin(self.endpoint):
            return {"Authorization": f"Bearer {self.token}"}
        return {}

    @contextlib.contextmanager
    def in_words(self, file: File | None = None) -> Iterator[None]:
        """Turns what libraries raise into `Problem`, `Again` or `WrongBytes`."""
        try:
            yield
        except (Problem, Again, WrongBytes):
            raise
        except Exception as error:
            raise self._explained(error, file) from None

    def _explained(self, error: Exception, file: File | None) -> Exception:
        import http.client
        import urllib.error

        import httpx2
        from huggingface_hub import errors

        at = f"{self.repo} at {self.endpoint}"
        missing = (
            errors.RepositoryNotFoundError,
            errors.RevisionNotFoundError,
            errors.EntryNotFoundError,
        )
        if self.mirror and isinstance(error, missing):
            what = f"{file.path} of {self.repo}" if file else self.repo
            return Problem(
                f"the mirror at {self.endpoint} does not have {what} in revision {self.revision}. "
                f"{DEPLOY_MIRROR}",
                elsewhere=True,
            )
        if isinstance(error, errors.GatedRepoError):
            return Problem(
                f"{self.repo} is gated. Accept its licence at {self.endpoint}/{self.repo}, and "
                "give a token of the same account, by hub_token_env or hub_token_file in "
                "group_data/all.py"
                + (" (the one that was sent has no access)" if self.token else "")
            )
        if isinstance(error, errors.RepositoryNotFoundError):
            private = "is private and the token may not see it" if self.token else (
                "is private: then set hub_token_env or hub_token_file in group_data/all.py"
            )  # fmt: skip
            return Problem(f"there is no repository {at}, or it {private}", elsewhere=True)
        if isinstance(error, errors.RevisionNotFoundError):
            fix = "Type: make pin" if is_commit(self.revision) else "Name one of its commits"
            return Problem(f"{at} has no revision {self.revision}. {fix}", elsewhere=True)
        if isinstance(error, errors.EntryNotFoundError):
            name = file.path if file else "such file"
            return Problem(
                f"{at} has no {name} in revision {self.revision}. Type: make pin", elsewhere=True
            )
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return Problem(
                f"the certificate of {self.endpoint} is not trusted on this machine ({error}). "
                "Install its CA certificate for the system, or set SSL_CERT_FILE",
                elsewhere=True,
            )
        if isinstance(error, errors.HfHubHTTPError):
            return self._refused(error.response.status_code, error.response.headers)
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            if error.code == 416:
                return WrongBytes("the server has fewer bytes than that", unread=True)
            if error.code in (403, 404, 410):  # a signed URL that has expired; the next is another
                return Again(f"{origin(error.url)} answers {error.code}")
            return self._refused(error.code, error.headers)
        if isinstance(error, (OSError, http.client.HTTPException, httpx2.HTTPError)):
            reason = getattr(error, "reason", None) or error
            return Again(f"{origin(self.endpoint)}: {reason or type(reason).__name__}")
        return error

    def _refused(self, code: int, headers: Any) -> Exception:
        if self.mirror and code in (401, 403):
            return Problem(
                f"the mirror at {self.endpoint} takes another token. {DEPLOY_MIRROR}",
                elsewhere=True,
            )
        if code == 401:
            return Problem(
                f"{self.endpoint} does not accept the token, or asks for one (401). Make one there "
                "under Settings, Access Tokens, and set hub_token_env or hub_token_file in "
                "group_data/all.py",
                elsewhere=True,
            )
        if code in (408, 425, 429) or code >= 500:
            return Again(f"{origin(self.endpoint)} answers {code}", asked_to_wait(headers))
        return Problem(f"{self.endpoint} answers {code} for {self.repo}", elsewhere=True)


def _abort_when_silent(streams: Any, waits_since: list[float], over: threading.Event) -> None:
    """Abort xet where somebody waits for it in vain; it has no such limit itself. A single stream
    cannot be cancelled while it is read ("Already borrowed")."""
    while not over.wait(1):
        if any(time.monotonic() - since > SILENCE for since in list(waits_since)):
            streams.abort()
            return


def asked_to_wait(headers: Any) -> float | None:
    """The seconds, an hour at most, after which a server wants to be asked again, if it says so: in
    Retry-After, or, as the Hub does, in RateLimit."""
    from email.utils import parsedate_to_datetime

    from huggingface_hub.utils import parse_ratelimit_headers

    after, limit = headers.get("Retry-After") or "", parse_ratelimit_headers(headers)
    if after.isdigit():
        seconds = float(after)
    elif date := parsedate_to_datetime(after) if after.endswith("GMT") else None:
        seconds = date.timestamp() - time.time()
    elif limit and limit.remaining == 0:
        seconds = float(limit.reset_in_seconds)
    else:
        return None
    return min(max(seconds, BACKOFF[0]), LONGEST_WAIT)


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def prepare(hubs: list[Hub], cache: Path) -> None:
    """Set huggingface_hub up for `hubs`, before its first import: each token for its own endpoint,
    none that lies about on this machine, and nothing written but under `cache`."""
    os.environ.update(
        HF_HOME=str(cache),
        HF_HUB_DISABLE_IMPLICIT_TOKEN="1",  # noqa: S106 - the opposite of a secret
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        HF_HUB_DISABLE_UPDATE_CHECK="1",
    )
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ.pop(name, None)
    import httpx2
    import huggingface_hub

    def authorize(request: Any) -> None:
        request.headers.pop("Authorization", None)
        for hub in hubs:
            request.headers.update(hub.authorization(str(request.url)))

    def client() -> Any:
        return httpx2.Client(
            event_hooks={"request": [authorize]},
            follow_redirects=True,
            timeout=None,
            # A mirror is on the LAN, and its token is for no proxy.
            mounts={f"all://{urlsplit(hub.endpoint).hostname}": None for hub in hubs if hub.mirror},
        )

    huggingface_hub.set_client_factory(client)


@cache
def opener(direct: bool) -> urllib.request.OpenerDirector:
    """Opens URLs with the certificates that huggingface_hub trusts, by the system's proxies or
    `direct`."""
    import urllib.request

    import httpx2

    handlers: list[Any] = [urllib.request.HTTPSHandler(context=httpx2.create_ssl_context())]
    if direct:
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


# The pull


@dataclass
class Meter:
    """What a pull has done so far, kept in progress.json every second by a thread of its own."""

    path: Path
    total: int = 0
    state: str = "planning"
    message: str = ""
    received: dict[str, int] = field(default_factory=dict)
    active: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    network: int = 0
    last_byte: float = field(default_factory=time.monotonic)
    files: int = 0
    final: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, int]] = deque(maxlen=15)
        self._told = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Meter:
        self.write()
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._ended.set()
        self._thread.join()
        self.state = "failed" if error else "complete"
        self.final = not isinstance(error, Problem) or error.final
        if error:
            self.message = str(error) or repr(error)
        with contextlib.suppress(OSError):
            self.write()

    def say(self, words: str) -> None:
        """Tell of something that happened, once."""
        self.message = words
        print(words, flush=True)

    def note(self, words: str) -> None:
        """The same, to be said again at the end."""
        self.notes.append(words)
        self.say(words)

    def got(self, path: str, count: int, new: bool) -> None:
        """`count` more bytes of a file came; `new`: they had not come before."""
        with self._lock:
            self.received[path] = self.received.get(path, 0) + count
            self.network += count
            if new:
                self.last_byte = time.monotonic()

    def snapshot(self) -> dict[str, Any]:
        done = sum(list(self.received.values()))
        first, now = self._samples[0] if self._samples else (0.0, 0), time.monotonic()
        seconds = now - first[0]
        rate = max(self.network - first[1], 0) / seconds if self._samples and seconds > 0 else 0.0
        return {
            "state": self.state,
            "message": self.message,
            "notes": list(self.notes),
            "final": self.final,
            "bytes_done": done,
            "bytes_total": self.total,
            "rate": round(rate),
            "eta_seconds": round((self.total - done) / rate) if rate > 1 else None,
            "files_total": self.files,
            "current": [
                {"path": path, "bytes_done": self.received.get(path, 0), "size": size}
                for path, size in sorted(self.active.items())
            ],
            "pid": os.getpid(),
            "time": time.time(),
        }

    def write(self) -> None:
        write_json(self.path, self.snapshot())

    def _tick(self) -> None:
        while not self._ended.wait(1):
            self._samples.append((time.monotonic(), self.network))
            with contextlib.suppress(OSError):  # a full disk; the pull itself says so
                self.write()
            if time.monotonic() - self._told >= MINUTE:
                self._told = time.monotonic()
                now = self.snapshot()
                done, total = gigabytes(now["bytes_done"]), gigabytes(now["bytes_total"])
                print(f"{done} of {total}, {now['rate'] / 1e6:.1f} MB/s", flush=True)


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


class Part:
    """A file on its way: what has come of it, and the hash of that."""

    def __init__(self, place: Place, file: File) -> None:
        self.file, self.target = file, place.snapshot / file.path
        self.path = self.target.with_name(f"{self.target.name}{PART}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.length = self.unsynced = 0
        #: How far it has come. Bytes that come again are no progress, or a server that ends in the
        #: middle each time, and always starts at the beginning, would be asked for ever.
        self.furthest = 0
        #: Whether an earlier run, or another server than `source`, brought some of it.
        self.mixed = False
        self.source = ""
        self.hasher = file.hasher()
        self.output = os.fdopen(os.open(self.path, _PART_FLAGS, 0o644), "r+b", 0)
        if os.fstat(self.output.fileno()).st_size > file.size:
            self.restart()
        while chunk := self.output.read(4 * CHUNK):
            self.hasher.update(chunk)
            self.length += len(chunk)
            self.mixed = True
        self.furthest = self.length

    def restart(self) -> None:
        self.output.seek(0)
        self.output.truncate()
        self.length, self.unsynced, self.mixed = 0, 0, False
        self.hasher = self.file.hasher()

    def append(self, chunk: bytes) -> None:
        if self.length + len(chunk) > self.file.size:
            raise WrongBytes(f"more than its {self.file.size} bytes came")
        view = memoryview(chunk)
        with on_disk(self.path):
            while view:
                view = view[self.output.write(view) :]
            self.hasher.update(chunk)
            self.length += len(chunk)
            self.furthest = max(self.furthest, self.length)
            self.unsynced += len(chunk)
            if self.unsynced >= SYNC_EVERY:
                self.sync()

    def sync(self) -> None:
        getattr(os, "fdatasync", os.fsync)(self.output.fileno())
        self.unsynced = 0

    def finish(self) -> None:
        """Put it in its place; raises `WrongBytes` where its hash is not right."""
        if self.hasher.hexdigest() != self.file.hash:
            raise WrongBytes(f"it has another {self.file.kind}")
        with on_disk(self.path):
            os.fsync(self.output.fileno())
            self.path.replace(self.target)
            sync_directory(self.target.parent)

    def close(self) -> None:
        self.output.close()


@contextlib.contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Turns what the disk says into a `Problem`."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            folder = path if path.is_dir() else path.parent
            raise Problem(f"the disk of {folder} is full. Make room, see: df -h {folder}") from None
        raise Problem(f"{path} cannot be written ({error.strerror})") from None


class Pull:
    """One run: `hubs` are the endpoints to ask, the first until it fails."""

    def __init__(self, desired: Desired, place: Place, meter: Meter) -> None:
        self.desired, self.place, self.meter = desired, place, meter
        urls = [desired.endpoint, *([desired.fallback] if desired.fallback else [])]
        self.hubs = [
            Hub(url, desired.repo, desired.revision, desired.token(url), desired.mirror and not n)
            for n, url in enumerate(urls)
        ]
        self.halt = threading.Event()
        self.not_before = 0.0
        self._manifest = place.manifest()
        self._lock = threading.Lock()

    def run(self, deep: bool) -> None:
        """Have every file there and proven, then make this revision the current one."""
        prepare(self.hubs, self.place.state / "hub")
        files = self.desired.pinned()
        if files is None:
            listed = self._patiently(lambda hub: hub.listing()[1], lambda: 0)
            files = self.desired.chosen(listed)
        self.meter.files, self.meter.total = len(files), sum(file.size for file in files)
        self.place.snapshot.mkdir(exist_ok=True)
        self._manifest.update(
            {"repo": self.desired.repo, "revision": self.desired.revision, "digest": None}
        )
        self.meter.state = "checking"
        missing = self._missing(files, deep)
        self._check_room(missing)
        self.meter.state = "pulling"
        # Those that are on their way first, then the largest, so that none is left over alone.
        missing.sort(key=lambda file: (-self.meter.received.get(file.path, 0), -file.size))
        self._side_by_side(self._fetch, missing)
        self.meter.state = "finishing"
        self._switch(files)

    def _missing(self, files: list[File], deep: bool) -> list[File]:
        """The files that have to be fetched, after a look at all that is there."""
        known = {} if deep else dict(self._manifest["files"])
        elsewhere = {} if deep else self._elsewhere()
        self._manifest["files"] = {}
        unsure = []
        for file in files:
            target, entry = self.place.snapshot / file.path, known.get(file.path)
            if entry and entry.get(file.kind) == file.hash and unchanged(target, entry):
                self._proven(file, write=False)
            elif stamp(target) is not None:
                unsure.append(file)
            elif self._link(elsewhere.get(file.hash), target):
                self._proven(file, write=False)
        self._side_by_side(self._check, unsure)
        self.place.write_manifest(self._manifest)
        missing = [file for file in files if file.path not in self._manifest["files"]]
        for file in missing:
            part = self.place.snapshot / f"{file.path}{PART}"
            self.meter.received[file.path] = min((stamp(part) or [0])[0], file.size)
        return missing

    def _elsewhere(self) -> dict[str, Path]:
        """The proven files of other revisions, by hash."""
        found = {}
        for revision in self.place.revisions():
            other = Place(self.place.root, revision)
            for path, entry in other.manifest()["files"].items():
                if unchanged(other.snapshot / path, entry):
                    found[entry.get("sha256") or entry["git_sha1"]] = other.snapshot / path
        return found

    def _link(self, other: Path | None, target: Path) -> bool:
        """Whether `target` is now a link to `other`, so that it need not be fetched."""
        if other is None:
            return False
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):  # a file system without links
            os.link(other, target)
        return stamp(target) is not None

    def _check(self, file: File) -> None:
        """A file that no manifest vouches for: proven by reading it, or removed."""
        target = self.place.snapshot / file.path
        self.meter.active[file.path] = file.size
        if is_right(target, file, lambda size: self._checked(file, size)):
            self._proven(file)
        else:
            self.meter.note(f"{file.path} is not what it should be, and is fetched again")
            self.meter.received[file.path] = 0
            target.unlink()
        del self.meter.active[file.path]

    def _checked(self, file: File, size: int) -> None:
        self._check_halt()
        self.meter.received[file.path] = self.meter.received.get(file.path, 0) + size

    def _proven(self, file: File, write: bool = True) -> None:
        found = stamp(self.place.snapshot / file.path)
        with self._lock:
            entry = {**file.spec(), "mtime_ns": found[1] if found else 0}
            self._manifest["files"][file.path] = entry
            self.meter.received[file.path] = file.size
            if write:
                self.place.write_manifest(self._manifest)

    def _check_room(self, missing: list[File]) -> None:
        need = sum(file.size - self.meter.received.get(file.path, 0) for file in missing)
        if not need:
            return
        need += MARGIN + int(self.meter.total * MARGIN_SHARE)
        free = shutil.disk_usage(self.place.root).free
        if free >= need:
            return
        old = [name for name in self.place.revisions() if name != self.desired.revision]
        there = ", ".join(str(self.place.root / name) for name in old)
        raise Problem(
            f"the disk of {self.place.root} is too small: {gigabytes(need)} are needed and "
            f"{gigabytes(free)} are free. Make room, see: df -h {self.place.root}"
            + (f"; earlier revisions are in {there}" if old else "")
        )

    def _side_by_side(self, work: Callable[[File], None], files: list[File]) -> None:
        """`work` on each file, several at once; the first problem ends all of them."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            futures = [pool.submit(work, file) for file in files]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            except BaseException:
                self.halt.set()
                raise
            if any(future.exception() for future in done):
                self.halt.set()
        errors = [error for future in futures if (error := future.exception())]
        for error in sorted(errors, key=lambda error: isinstance(error, Halted)):
            raise error

    def _fetch(self, file: File) -> None:
        self._check_halt()
        self.meter.active[file.path] = file.size
        with on_disk(self.place.snapshot):
            part = Part(self.place, file)
        self.meter.received[file.path] = part.length
        self.meter.last_byte = time.monotonic()  # until now it read what is there
        wrong: dict[str, int] = {}
        try:
            self._patiently(lambda hub: self._attempt(hub, part, wrong), lambda: part.furthest)
        finally:
            part.close()
            del self.meter.active[file.path]
        self._proven(file)

    def _attempt(self, hub: Hub, part: Part, wrong: dict[str, int]) -> None:
        """Fetch what is left of a file; wrong bytes are thrown away, and counted by server."""
        file = part.file
        try:
            part.mixed = part.mixed or (bool(part.length) and part.source != hub.endpoint)
            part.source = hub.endpoint
            if part.length < file.size:
                start, chunks = hub.open(file, part.length)
                if start != part.length:
                    part.restart()
                    self.meter.received[file.path] = 0
                with contextlib.closing(chunks):
                    for chunk in chunks:
                        before = part.furthest
                        part.append(chunk)
                        self.meter.got(file.path, len(chunk), part.furthest > before)
                        self._check_halt()
                if part.length < file.size:
                    raise Again(f"{origin(hub.endpoint)} ended in the middle of {file.path}")
            part.finish()
        except Again:
            raise
        except WrongBytes as error:
            if error.unread or not part.mixed:
                wrong[hub.endpoint] = wrong.get(hub.endpoint, 0) + 1
            if not error.unread:
                part.restart()
                part.furthest = 0
                self.meter.received[file.path] = 0
            if wrong.get(hub.endpoint, 0) > 1:
                raise Problem(
                    f"{hub.endpoint} sent {file.path} of {self.desired.repo} twice, and both times "
                    f"it was not the pinned file: {error}. Something in between alters it, such as "
                    "a proxy or a login page, or that server's copy is damaged",
                    elsewhere=True,
                ) from None
            raise Again(f"{file.path}: {error}; it is fetched again") from None

    def _patiently(self, attempt: Callable[[Hub], Result], received: Callable[[], int]) -> Result:
        """What `attempt` returns, tried until it works, or until there is no hope; `received` says
        how many bytes it has brought."""
        failures, before = 0, received()
        while True:
            self._wait_until(self.not_before)
            hub = self.hubs[0]
            try:
                return attempt(hub)
            except Problem as problem:
                if not (problem.elsewhere and self._fall_back(hub, str(problem))):
                    raise
                failures = 0
            except Again as error:
                failures = 1 if received() > before else failures + 1
                before = received()
                if failures >= FAILURES and self._fall_back(hub, str(error)):
                    failures = 0
                    continue
                self._pause(failures, error)

    def _pause(self, failures: int, error: Again) -> None:
        patience = GIVE_UP if error.after is None else max(GIVE_UP, LONGEST_WAIT)
        if time.monotonic() - self.meter.last_byte > patience:
            raise Problem(f"nothing came for {GIVE_UP / 60:.0f} minutes: {error}", final=False)
        seconds = min(BACKOFF[0] * 2 ** (failures - 1), BACKOFF[1]) * random.uniform(0.5, 1)  # noqa: S311
        if error.after is not None:
            seconds = error.after
            # For all connections to that server.
            self.not_before = max(self.not_before, time.monotonic() + seconds)
        self.meter.say(f"{error}" + (f"; tries again in {seconds:.0f} s" if seconds >= 1 else ""))
        self._wait_until(time.monotonic() + seconds)

    def _wait_until(self, moment: float) -> None:
        self.halt.wait(max(moment - time.monotonic(), 0))
        self._check_halt()

    def _check_halt(self) -> None:
        if self.halt.is_set():
            raise Halted()

    def _fall_back(self, hub: Hub, reason: str) -> bool:
        """Whether there is another endpoint to ask instead of `hub`."""
        with self._lock:
            if hub is self.hubs[0] and len(self.hubs) > 1:
                self.hubs = self.hubs[1:]
                self.not_before = 0.0
                self.meter.note(f"{reason}; from {self.hubs[0].endpoint} instead")
            return hub is not self.hubs[0]

    def _switch(self, files: list[File]) -> None:
        """Make this revision the current one, and take away what nothing needs any more."""
        place = self.place
        now = current_revision(place.root)
        if now != place.revision:  # else it is known, from before the link was changed
            self._manifest["previous"] = now
            place.write_manifest(self._manifest)
        new = place.root / "current.new"
        new.unlink(missing_ok=True)
        new.symlink_to(place.revision)
        new.replace(place.current)
        sync_directory(place.root)
        previous = self._manifest.get("previous") if self.desired.keep_previous else None
        remove_revisions(place, previous, self.desired.keep)
        self._remove_others({file.path for file in files})
        self._manifest["patterns"] = self.desired.patterns
        self._manifest["digest"] = digest(self.desired.repo, self.desired.revision, files)
        place.write_manifest(self._manifest)

    def _remove_others(self, wanted: set[str]) -> None:
        """Remove what is in this revision's directory and not wanted."""
        snapshot = self.place.snapshot
        for folder, _, names in os.walk(snapshot, topdown=False):
            for name in names:
                path = Path(folder, name)
                if str(path.relative_to(snapshot)) not in wanted:
                    path.unlink()
            if Path(folder) != snapshot and not any(Path(folder).iterdir()):
                Path(folder).rmdir()


def remove_revisions(place: Place, previous: str | None, keep: list[str]) -> None:
    """Remove every revision but that of `place`, `previous` and those to `keep`."""
    for name in place.revisions():
        if name not in (place.revision, previous, *keep):
            if (place.root / name).exists():
                shutil.rmtree(place.root / name)
            (place.state / f"{name}.json").unlink(missing_ok=True)


def pull(desired: Desired, deep: bool = False) -> None:
    """Have `desired` there, complete and proven; raises `Problem`."""
    place = Place(Path(desired.destination), desired.revision)
    with on_disk(place.state):
        place.state.mkdir(parents=True, exist_ok=True)
        lock = (place.state / "lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("another pull is at work here; this one waits for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        with on_disk(place.root):
            if not deep and is_complete(desired, place):
                previous = place.manifest().get("previous") if desired.keep_previous else None
                remove_revisions(place, previous, desired.keep)
                print("complete already")
                return
        writable = on_disk(place.root)  # of the meter's own file
        with writable, Meter(place.state / "progress.json") as meter, on_disk(place.root):
            Pull(desired, place, meter).run(deep)
        print(f"{meter.files} files, {gigabytes(meter.total)}: complete")


def is_complete(desired: Desired, place: Place) -> bool:
    """Whether there is nothing to do, found out without any network."""
    try:
        files = desired.pinned()
    except Problem:  # the pull says so, in its progress too
        return False
    wanted = digest(desired.repo, desired.revision, files) if files is not None else None
    found = status(place.root, wanted)
    same = files is not None or place.manifest().get("patterns") == desired.patterns
    return same and found["state"] == "complete" and found["revision"] == desired.revision


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="pull.py", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    pulls = commands.add_parser("pull", allow_abbrev=False)
    pulls.add_argument("desired", type=Path)
    looks = commands.add_parser("status", allow_abbrev=False)
    looks.add_argument("destination", type=Path)
    looks.add_argument("digest", nargs="?")
    for one in (pulls, looks):
        one.add_argument("--deep", action="store_true")
    commands.add_parser("progress", allow_abbrev=False).add_argument("destination", type=Path)
    options = parser.parse_args(argv)
    if options.command == "progress":
        print(json.dumps(progress_of(options.destination)))
        return 0
    if options.command == "status":
        found = status(options.destination, options.digest, options.deep)
        print(json.dumps(found))
        return 0 if found["state"] == "complete" else 1
    try:
        pull(Desired.read(options.desired), options.deep)
    except Problem as problem:
        print(f"pull.py: {problem}", file=sys.stderr)
        return 2 if problem.final else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
