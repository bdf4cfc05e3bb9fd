"""Everything that the other roles put on a host, taken away."""

from __future__ import annotations

from pathlib import PurePosixPath

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import files

from .. import report
from ..operations import file, service, user_files
from ..serving import deployed_services
from ..target import Target


@deploy("Removal")
def apply(target: Target) -> None:
    machine, layout = target.machine, target.layout
    for name, definition in deployed_services(target):
        service.absent(
            name=f"Remove the service {name}",
            service=name,
            manager=machine.manager,
            definition=definition,
        )
    service.no_lingering(name="Let services end with the login again", layout=layout)
    user_files.settings_unmerged(
        name="Take our part out of ~/.claude/settings.json",
        path=layout.claude_settings,
        layout=layout,
    )
    for start_up in (".bashrc", ".zshrc", ".bash_profile", ".bash_login", ".profile"):
        path = str(PurePosixPath(machine.home, start_up))
        user_files.line_absent(name=f"Take our line out of {path}", path=path, layout=layout)
    file.directories_absent(
        name="Remove the directories made for them", record=layout.created_directories
    )
    # Last, since it holds the record of all the rest.
    files.directory(name=f"Remove {layout.directory}", path=layout.directory, present=False)
    report.say(host, f"nothing of {layout.name} is left")
