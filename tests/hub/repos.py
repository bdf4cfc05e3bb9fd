"""Repositories: commits, files and their hashes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

LFS_SUFFIXES = frozenset({".safetensors", ".gguf", ".bin", ".pt"})

#: The real Hub wants LFS for larger files.
LFS_SIZE = 10 * 2**20


@dataclass(frozen=True)
class Sparse:
    """A file of zeros, but for the `marks`, that takes no room on disk."""

    size: int
    marks: Mapping[int, bytes] = field(default_factory=dict)

    def create(self, path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(self.size)
            for offset, data in self.marks.items():
                file.seek(offset)
                file.write(data)
            if file.seek(0, 2) != self.size:
                raise ValueError(f"a mark reaches beyond the {self.size} bytes")


Content = bytes | Path | Sparse


@dataclass(frozen=True)
class PinnedFile:
    """What identifies a file: `sha256` is None if it is not in LFS, where `git_sha1` is that of
    the pointer."""

    size: int
    sha256: str | None
    git_sha1: str


_hashes: dict[object, str] = {}
_hashing = threading.Lock()


class File:
    """A file of a commit; hashed when that is asked for, and once per content."""

    def __init__(self, path: Path, lfs: bool, key: object) -> None:
        self.path = path
        self.lfs = lfs
        self.size = path.stat().st_size
        self._key = key

    @property
    def pointer(self) -> bytes:
        """What git has of a file in LFS."""
        text = "version https://git-lfs.github.com/spec/v1\noid sha256:"
        return f"{text}{self.sha256}\nsize {self.size}\n".encode()

    @property
    def sha256(self) -> str:
        with _hashing:
            if self._key not in _hashes:
                with self.path.open("rb") as file:
                    _hashes[self._key] = hashlib.file_digest(file, "sha256").hexdigest()
            return _hashes[self._key]

    @cached_property
    def git_sha1(self) -> str:
        blob = self.pointer if self.lfs else self.path.read_bytes()
        return hashlib.sha1(b"blob %d\0%b" % (len(blob), blob)).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.git_sha1

    @property
    def pinned(self) -> PinnedFile:
        return PinnedFile(self.size, self.sha256 if self.lfs else None, self.git_sha1)


@dataclass(frozen=True)
class Commit:
    id: str
    files: Mapping[str, File]

    @property
    def folders(self) -> list[str]:
        parents = {str(folder) for path in self.files for folder in PurePosixPath(path).parents}
        return sorted(parents - {"."})

    def entries(self, recursive: bool, xet: Mapping[str, str]) -> list[dict[str, object]]:
        """The listing, as the tree route has it; `xet` has the Xet hash of some paths."""
        listed = [path for path in [*self.folders, *self.files] if recursive or "/" not in path]
        return [self._entry(path, xet) for path in sorted(listed)]

    def _entry(self, path: str, xet: Mapping[str, str]) -> dict[str, object]:
        file = self.files.get(path)
        if file is None:
            oid = hashlib.sha1(f"{self.id}:{path}".encode()).hexdigest()
            return {"type": "directory", "oid": oid, "size": 0, "path": path}
        entry = {"type": "file", "oid": file.git_sha1, "size": file.size, "path": path}
        if file.lfs:
            pointer = len(file.pointer)
            entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": pointer}
        if path in xet:
            entry["xetHash"] = xet[path]
        return entry


@dataclass
class Repo:
    name: str
    gated: bool = False
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)

    def at(self, revision: str) -> Commit | None:
        """`main` is the latest commit."""
        if revision == "main":
            return next(reversed(self.commits.values()), None)
        return self.commits.get(revision)


class Repos:
    """All repositories; what is not a file on disk already becomes one in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._repos: dict[str, Repo] = {}
        self._count = 0

    def get(self, name: str) -> Repo | None:
        return self._repos.get(name)

    def commit(self, name: str, contents: Mapping[str, Content], gated: bool) -> Commit:
        repo = self._repos.setdefault(name, Repo(name))
        repo.gated = gated
        files = {path: self._file(path, content) for path, content in contents.items()}
        said = repr((name, [*repo.commits], [(path, file.size) for path, file in files.items()]))
        commit = Commit(hashlib.sha1(said.encode()).hexdigest(), files)
        repo.commits[commit.id] = commit
        return commit

    def _file(self, path: str, content: Content) -> File:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ValueError(f"{path!r} is no path in a repository")
        key: object
        match content:
            case Path():
                place, stat = content.resolve(), content.stat()
                key = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
            case Sparse():
                content.create(place := self._place())
                key = (content.size, *sorted(content.marks.items()))
            case _:
                (place := self._place()).write_bytes(content)
                key = content
        large = place.stat().st_size > LFS_SIZE or isinstance(content, Sparse)
        return File(place, large or PurePosixPath(path).suffix in LFS_SUFFIXES, key)

    def _place(self) -> Path:
        self._count += 1
        return self._folder / str(self._count)
