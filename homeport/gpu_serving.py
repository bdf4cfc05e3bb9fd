"""What a GPU host runs: the engine's environment, and the supervised service in it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from .engines import LIFELINE_PORT, Secret
from .gpu_settings import GpuSettings
from .layout import Layout
from .operations import account
from .operations.python_env import Environment
from .service import Manager, Service, definition_path, digest, sealed
from .serving import snapshot_path
from .target import Target

#: The program that has the hosts of one model end and start together.
TOGETHER = Path(__file__).resolve().parent / "remote" / "together.py"

#: systemd's own.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: Bytes that an environment takes in the end, and while pip unpacks it: about what the wheels of
#: vLLM 0.32.0 with CUDA 13 say; the CPU build was measured (3.5 GB).
_SIZE = {True: 12_000_000_000, False: 3_500_000_000}
_ROOM = {True: 25_000_000_000, False: 6_000_000_000}


@dataclass(frozen=True)
class Files:
    """Where what belongs to the server of a route stands: its `definition`, its `token` as a deploy
    asks with it and the `secrets` by which the server is told of it, the link to its environment
    (`current`); and under `state` which identity was `proven`, which has `failed`, and the
    definition before (`previous`)."""

    definition: str
    token: str
    secrets: str
    current: str
    proven: str
    failed: str
    previous: str


def settings_of(target: Target) -> GpuSettings:
    gpu = target.settings.gpu
    assert gpu, "settings.py gives every host of this group one"  # noqa: S101
    return gpu


def environment(target: Target) -> Environment:
    """The engine's own."""
    gpu = settings_of(target)
    return Environment(
        target.layout,
        target.machine.python_version,
        (gpu.lock,),
        label=f"{gpu.engine.NAME}-{gpu.version}",
        size=_SIZE[gpu.version.on_gpus],
    )


def room(target: Target) -> int:
    """Bytes that have to be free for `environment` to be built."""
    return _ROOM[settings_of(target).version.on_gpus]


def packages(target: Target) -> list[str]:
    """The distribution's packages that the engine needs, which compiles kernels on the host."""
    gpu = settings_of(target)
    compiles = gpu.version.on_gpus or "--enforce-eager" not in gpu.arguments
    # PyTorch finds out with libnuma which memory is near.
    found = ["python3-venv", "libnuma1"]
    return [*found, *(("python3-dev", "gcc", "g++") if compiles else ())]


def name(target: Target) -> str:
    """The service's."""
    return f"{target.layout.services}{settings_of(target).route.alias}"


def files(target: Target) -> Files:
    layout, gpu = target.layout, settings_of(target)
    alias, secret = gpu.route.alias, secret_of(gpu)
    # One of its own for each token: a definition that is gone back to finds the one it had.
    kind = f"{sealed(secret.text)}.{secret.kind}" if secret else "none"
    return Files(
        definition=definition_path(name(target), Manager.SYSTEM, layout),
        token=layout.server_token(gpu.route),
        secrets=layout.path("service", f"{alias}.{kind}"),
        current=layout.path("env", "current"),
        proven=layout.proven(alias),
        failed=layout.path("state", f"{alias}.failed"),
        previous=layout.path("state", f"{alias}.previous"),
    )


def service(target: Target) -> Service:
    """The service that serves the host's part of its route."""
    gpu, layout = settings_of(target), target.layout
    serving = gpu.serving(snapshot_path(gpu.weights, target))
    cache = f"{account.name(layout)}/{gpu.route.alias}"
    inputs = [gpu.weights.pinned.digest]
    variables = {
        # Compilers are called by name, ninja among them, which comes with the engine.
        "PATH": f"{environment(target).path}/bin:{_PATH}",
        **caches(f"/var/cache/{cache}"),
        **gpu.engine.environment(serving),
    }
    secret, place = secret_of(gpu), files(target)
    as_variables = secret is not None and secret.kind == "env"
    handed_over = None
    if secret:
        inputs.append(sealed(secret.text))
        if not as_variables:  # systemd.exec(5), LoadCredential: where it puts them
            file = PurePosixPath(place.secrets).name
            handed_over = f"/run/credentials/{name(target)}.service/{file}"
    return Service(
        name=name(target),
        owner=layout.owner,
        description=f"{gpu.route.alias}: {gpu.route.model.label}",
        command=(
            *_together(target),
            environment(target).python,
            *gpu.engine.module(),
            *gpu.engine.command_line(serving, handed_over),
        ),
        log="",
        inputs=tuple(inputs),
        user=account.name(layout),
        environment=tuple(variables.items()),
        secrets=place.secrets if as_variables else None,
        credential=place.secrets if handed_over else None,
        cache=cache,
        # A user's process may not make the devices that are not there yet after a boot: those of
        # the GPUs, and that of their shared memory.
        before=(("/usr/bin/nvidia-smi", "-L"), ("/usr/bin/nvidia-modprobe", "-c0", "-u"))
        if gpu.version.on_gpus
        else (),
    )


def _together(target: Target) -> tuple[str, ...]:
    """What runs the server where others serve the model with it."""
    place = settings_of(target).place
    if place.nodes == 1:
        return ()
    where = (str(place.rank), ",".join(place.members), str(LIFELINE_PORT))
    return (environment(target).python, together(target), *where)


def together(target: Target) -> str:
    """Where that program is; each version of it has a place, for definitions that lead there."""
    return target.layout.path("lib", f"{TOGETHER.stem}-{digest(TOGETHER.read_text())}.py")


def caches(folder: str) -> dict[str, str]:
    """The variables by which all that an engine compiles and keeps goes to `folder`."""
    names = {
        "XDG_CACHE_HOME": "cache",
        "XDG_CONFIG_HOME": "config",
        "TRITON_CACHE_DIR": "triton",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
    }
    return {"HOME": folder, **{name: f"{folder}/{part}" for name, part in names.items()}}


def arguments(wanted: Service, gpu: GpuSettings) -> tuple[str, ...]:
    """What its engine is told, of the command line of a service."""
    module = gpu.engine.module()
    words = list(wanted.command)
    return tuple(words[words.index(module[-1], words.index(module[0])) + 1 :])


def secret_of(gpu: GpuSettings) -> Secret | None:
    """The file that tells the server its token, None where it asks for none."""
    token = gpu.route.endpoint.token
    return gpu.engine.secret(token.value) if token else None


def environments_in(text: str, layout: Layout) -> list[str]:
    """The names of the environments that a text speaks of, such as a definition's."""
    text = text.replace("%%", "%")
    return re.findall(rf"{re.escape(layout.path('env'))}/([^/\"\s]+)/bin/", text)


def common_part(definition: str) -> str:
    """What the definitions of all hosts of one model share, as one text."""
    line = re.findall(r"^ExecStart=:(.*)$", definition.replace("%%", "%"), re.MULTILINE)
    options = _options(tuple(shlex.split(line[0]))) if line else {}
    own = ("node_rank", "headless")
    return repr(sorted((name, value) for name, value in options.items() if name not in own))


def changes(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    """What is different between two command lines of a server, in words: "max_model_len 131072 ->
    262144"."""
    old, new = _options(before), _options(after)
    found = []
    for option in dict.fromkeys([*old, *new]):
        if old.get(option) != new.get(option):
            here, there = (_shown(values.get(option)) for values in (old, new))
            found.append(f"{option} {here} -> {there}")
    return found


def _options(command: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The options of a command line by name, and the engine and the weights by theirs."""
    words = list(command)
    found: dict[str, tuple[str, ...]] = {}
    if words:
        environment = re.search(r"/env/([^/]+)/bin/", words[0])
        found["engine"] = (environment[1] if environment else words[0],)
    for index, word in enumerate(words):
        if word.startswith("--"):
            option, mark, value = word.removeprefix("--").partition("=")
            values = (value,) if mark else tuple(takewhile(_is_value, words[index + 1 :]))
            found[option.replace("-", "_")] = values
        elif found_revision := re.search(r"/([0-9a-f]{40})/?$", word):
            found["weights"] = (found_revision[1][:12],)
    return found


def _is_value(word: str) -> bool:
    return not word.startswith("--")


def _shown(values: tuple[str, ...] | None) -> str:
    if values is None:
        return "(none)"
    return " ".join(values) or "on"
