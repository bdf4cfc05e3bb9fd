"""Where a model's weights come from. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from .errors import SettingsError
from .pins import LOCK, Pin
from .remote.pull import Problem, chosen

_REPO = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_FIRST_OF_MANY = re.compile(r"-00001-of-\d{5}\.gguf$")
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.safetensors$")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HubWeights:
    """Weights in a repository on the Hub.

    `files` are glob patterns; `size` is in bytes, for the reader; `pin` is what weights.lock.json
    says of the repository, None where it says nothing. `pickle` allows files that can execute code
    when they are loaded. `part` names these files among others of the repository, which may be on
    the same host: a server goes on with the one while the other is on its way.
    """

    repo: str
    files: tuple[str, ...]
    size: int
    pin: Pin | None = None
    pickle: bool = False
    part: str | None = None

    def __post_init__(self) -> None:
        if not _REPO.fullmatch(self.repo):
            raise SettingsError(
                "repo",
                self.repo,
                "a Hub repository is owner/name",
                "Write e.g. zai-org/GLM-5.2-FP8",
            )

    @property
    def name(self) -> str:
        """The repository, and the part; also the directory of its files."""
        return f"{self.repo}@{self.part}" if self.part else self.repo

    @property
    def pinned(self) -> Pin:
        """The pin, of the files that are wanted; raises `SettingsError` where there is none."""
        if self.pin is None:
            raise SettingsError(
                "weights",
                self.repo,
                f"{LOCK.name} has no pin of it, and only what is pinned is pulled",
                "Type: make pin, and commit that file",
            )
        try:
            files = chosen(
                list(self.pin.files), self.files, self.repo, self.pin.revision, self.pickle
            )
        except Problem as problem:
            raise SettingsError("weights", self.repo, str(problem), "Type: make pin") from None
        return replace(self.pin, files=tuple(files))

    def check_shards(self) -> None:
        """Raise `SettingsError` where one of several files of safetensors is not pinned."""
        found: dict[str, set[int]] = {}
        for file in self.pinned.files:
            if shard := _SHARD.search(file.path):
                found.setdefault(shard[2], set()).add(int(shard[1]))
        for total, there in found.items():
            if missing := sorted(set(range(1, int(total) + 1)) - there):
                raise SettingsError(
                    "weights",
                    self.repo,
                    f"of its {int(total)} shards {len(missing)} are not pinned, the first of them "
                    f"number {missing[0]}",
                    "Type: make pin, or correct the patterns in homeport/catalog.py",
                )

    @property
    def gguf(self) -> str:
        """The file that llama.cpp is given: the only one, or the first of a split model's; raises
        `SettingsError` where that is not clear."""
        found = [file.path for file in self.pinned.files if file.path.endswith(".gguf")]
        first = [path for path in found if _FIRST_OF_MANY.search(path)]
        if len(found) != 1 and len(first) != 1:
            raise SettingsError(
                "weights",
                self.repo,
                f"{' '.join(self.files)} matches {len(found)} GGUF files, and one is served",
                "Choose the pattern of one quant in homeport/catalog.py",
            )
        return (first or found)[0]


def together(weights: Iterable[HubWeights]) -> list[HubWeights]:
    """The same, one for each name, with the files of all that want some of it."""
    found: dict[str, HubWeights] = {}
    for one in weights:
        other = found.get(one.name, one)
        files = tuple(dict.fromkeys((*other.files, *one.files)))
        found[one.name] = replace(one, files=files, pickle=one.pickle or other.pickle)
    return list(found.values())


@dataclass(frozen=True)
class PackagedWeights:
    """Weights that a Python distribution carries: `path` under site-packages, `size` in bytes.

    `lock` is the requirements file, beside this project's deploy.py, that pins the distribution.
    """

    lock: str
    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise SettingsError("sha256", self.sha256, "a sha256 is 64 hex digits", "Measure it")


@dataclass(frozen=True)
class FileWeights:
    """One GGUF file that is on the host already. A path that starts with ~/ is the user's home."""

    path: str

    def __post_init__(self) -> None:
        if not self.path.startswith(("/", "~/")) or PurePosixPath(self.path).suffix != ".gguf":
            raise SettingsError(
                "weights",
                self.path,
                "it is not the path of a GGUF file on the host",
                "Write an absolute path, or one that starts with ~/, that ends in .gguf",
            )


Weights = HubWeights | PackagedWeights | FileWeights
