"""Everything that the other roles put on a host, taken away."""

from __future__ import annotations

from pathlib import PurePosixPath

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import files

from .. import report
from ..facts.file import EntriesFact
from ..operations import file, service, user_files
from ..service import Service
from ..target import Target


@deploy("Removal")
def apply(target: Target) -> None:
    machine, layout = target.machine, target.layout
    for name, definition in _services(target):
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


def _services(target: Target) -> list[tuple[str, str]]:
    """The names of this deployment's services, and the paths of their definitions."""
    anyone = Service(f"{target.layout.services}*", "", (), "")
    path = PurePosixPath(
        anyone.definition(target.machine.manager, target.machine.home, target.layout.directory)
    )
    names = host.get_fact(EntriesFact, path=str(path.parent))
    found = [name for name in names if PurePosixPath(name).match(path.name)]
    return [(name.removesuffix(path.suffix), str(path.parent / name)) for name in found]
