"""Where a model's weights come from. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from .errors import SettingsError

_REVISION = re.compile(r"[0-9a-f]{40}")
_REPO = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HubWeights:
    """Weights in a repository on the Hub.

    `files` are glob patterns; `size` is in bytes; `revision` is a commit of 40 hex digits, or None
    until it is pinned.
    """

    repo: str
    files: tuple[str, ...]
    size: int
    revision: str | None = None

    def __post_init__(self) -> None:
        if not _REPO.fullmatch(self.repo):
            raise SettingsError(
                "repo",
                self.repo,
                "a Hub repository is owner/name",
                "Write e.g. zai-org/GLM-5.2-FP8",
            )
        if self.revision is not None and not _REVISION.fullmatch(self.revision):
            raise SettingsError(
                "revision",
                self.revision,
                "a branch or tag moves, so only a commit pins the weights",
                "Write the commit's 40 hex digits, or leave it out until it is pinned",
            )


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
