"""Everything that the other roles put on a host, taken away."""

from __future__ import annotations

from pathlib import PurePosixPath

from pyinfra.api import deploy

from ..facts import haproxy
from ..operations import account, apt, brew, client, file, policy, service, user_files
from ..target import Target

START_UP_FILES = (
    *(".bashrc", ".zshrc", ".bash_profile", ".bash_login", ".profile"),
    ".config/fish/config.fish",
)


@deploy("Removal")
def apply(target: Target) -> None:
    layout = target.layout
    start_up = [str(PurePosixPath(target.machine.home, name)) for name in START_UP_FILES]
    service.only(name="Remove the services", target=target, keep=[])
    policy.absent(name="Take our managed settings away", layout=layout)
    for formula in (brew.FORMULA, haproxy.PACKAGE):
        brew.absent(name=f"Take {formula} away again", layout=layout, formula=formula)
    client.absent(name="Take Claude Code away again", layout=layout)
    apt.absent(name="Take packages away again", layout=layout)
    account.absent(name="Remove the system user", layout=layout)
    service.no_lingering(name="Let services end with the login again", layout=layout)
    user_files.settings_unmerged(
        name="Take our part out of ~/.claude/settings.json",
        path=layout.claude_settings,
        layout=layout,
    )
    for path in start_up:
        user_files.line_absent(name=f"Take our line out of {path}", path=path, layout=layout)
    file.no_leftovers(
        name="Remove what an interrupted run left beside them",
        paths=[layout.claude_settings, *start_up],
    )
    file.directories_absent(
        name="Remove the directories made for them", record=layout.created_directories
    )
    # Last, since it holds the record of all the rest.
    file.tree_absent(name=f"Remove {layout.directory}", layout=layout, python=target.python)
