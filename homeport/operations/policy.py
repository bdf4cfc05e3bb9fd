"""The fleet's policy on a machine: a file of root's, which every Claude Code there obeys."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from ..facts.engine import TextFact
from ..facts.file import FileState, FileStateFact
from ..facts.packages import AS_ROOT
from ..layout import Layout
from . import file
from .file import Commands, failure

# Recorded first: the file, and the folders that are made for it. Where one of those is closed, the
# client says that the policy is not in effect, and goes on.
_WRITE = f"""{AS_ROOT}
folder=$(dirname "$path")
[ -e "$record" ] || {{ echo "$path"
  while [ ! -d "$folder" ]; do echo "$folder"; folder=$(dirname "$folder"); done; }} > "$record"
new="$path.homeport-new"
root mkdir -p "$(dirname "$path")" && tail -n +2 "$record" | while read -r folder; do
  root chmod 755 "$folder"; done
root cp "$source" "$new" && root chmod 644 "$new" \\
  && root mv -f "$new" "$path" || {{ echo "$failed" >&2; exit 1; }}
folder=$(dirname "$path")
for one in "$folder" "$(dirname "$folder")"; do
  [ -z "$(find "$one" -prune ! -perm -005)" ] || {{
    echo "homeport: $one is closed, so that nobody obeys it. Type: sudo chmod 755 '$one'" >&2
    exit 1; }}
done
"""

_REMOVE = f"""{AS_ROOT}
head -n 1 "$record" | while read -r path; do root rm -f "$path" "$path.homeport-new"; done \\
  || {{ echo "$failed" >&2; exit 1; }}
tail -n +2 "$record" | while read -r folder; do root rmdir "$folder" 2>/dev/null; done
rm -f "$record"
"""


@operation()
def present(path: str, content: bytes, layout: Layout) -> Commands:
    """Have `content` in root's file `path`, readable to all; one of somebody else's is left."""
    found = host.get_fact(FileStateFact, path=path)
    if found == FileState("644", hashlib.sha256(content).hexdigest()):
        host.noop(f"{path} is as it should be")
        return
    if found and not host.get_fact(FileStateFact, path=_record(layout)):
        yield failure(f"{path} is there and not of our making. Move it away, and run this again")
        return
    source = layout.path("state", PurePosixPath(path).name)
    yield from file.write._inner(path=source, content=content)
    failed = f"homeport: {path} could not be written as root, see the lines above"
    yield StringCommand(
        "path=", QuoteString(path), "; source=", QuoteString(source), "; record=",
        QuoteString(_record(layout)), "; failed=", QuoteString(failed), "\n", _WRITE,
        _separator="",
    )  # fmt: skip


@operation()
def absent(layout: Layout) -> Commands:
    """Take away what `present` wrote, and the folders that were made for it."""
    path, _, _ = host.get_fact(TextFact, path=_record(layout)).partition("\n")
    if not path:
        host.noop("homeport wrote no managed settings")
        return
    failed = f"homeport: {path} could not be removed. Type: sudo rm '{path}'; then run this again"
    yield StringCommand(
        "record=", QuoteString(_record(layout)), "; failed=", QuoteString(failed), "\n", _REMOVE,
        _separator="",
    )  # fmt: skip


def _record(layout: Layout) -> str:
    return layout.path("state", "managed-settings")
