"""llama.cpp's server: settings -> command line. Pure.

Two programs take this command line: a `llama-server`, of Homebrew's or anybody's, and
`homeport/remote/serve_llama.py`, which runs the same server from the PyPI wheel `xllamacpp`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..doctor import engine_log
from ..doctor.wanted import LLAMA_CPP
from ..memory import CHECKPOINTS, Kind, Memory
from ..model import Endpoint, Route

#: MiB of prompts that are kept, where nothing is known of the machine's memory.
_PROMPTS_MIB = 1024

#: Layers on the GPU, where there is one: more than any model has.
_ALL_LAYERS = 99


@dataclass(frozen=True)
class Flag:
    """How a setting is said, in its newest spelling first; {} stands for the value. Where the
    server knows no spelling of one that is not `needed`, it is left out."""

    spellings: tuple[str, ...]
    needed: bool = True

    def words(self, value: str, known: frozenset[str]) -> list[str]:
        """The words of the command line, for a server that knows these flags (none: not asked)."""
        spelling = self.spellings[0]
        for one in self.spellings:
            if one.split()[0] in known:
                spelling = one
                break
        else:
            if known and not self.needed:
                return []
        return [value if word == "{}" else word for word in spelling.split()]


#: Every flag that is written. The builds are those in whose history each spelling begins
#: (common/arg.cpp); older ones are of no use, as they do not serve the Messages API.
FLAGS: dict[str, Flag] = {
    "model": Flag(("--model {}",)),
    "alias": Flag(("--alias {}",)),
    "host": Flag(("--host {}",)),
    "port": Flag(("--port {}",)),  # always: the default is about to change (issue 26508)
    "context": Flag(("--ctx-size {}",)),
    "parallel": Flag(("--parallel {}",)),
    "gpu_layers": Flag(("--n-gpu-layers {}",)),
    "device": Flag(("--device {}",)),  # b4167, PR 10497
    "key_cache": Flag(("--cache-type-k {}",)),
    "value_cache": Flag(("--cache-type-v {}",)),
    "flash_attention": Flag(("--flash-attn {}",)),  # with a value since b6325, PR 15434
    # b10105, PR 20834; --no-mmap was taken out after b10587, PR 28334.
    "loading": Flag(("--load-mode none", "--no-mmap")),
    "templates": Flag(("--jinja",), needed=False),  # the default since b7170, PR 17524
    "template": Flag(("--chat-template-file {}",)),
    "metrics": Flag(("--metrics",)),
    "prompts": Flag(("--cache-ram {}",)),  # b6723, PR 16391
    "checkpoints": Flag(("--ctx-checkpoints {}",)),  # b6685, PR 16382
    "origins": Flag(("--cors-origins {}",), needed=False),  # b10010, PR 25655
    "temperature": Flag(("--temp {}",)),
    "top_p": Flag(("--top-p {}",)),
    "top_k": Flag(("--top-k {}",)),
    "token": Flag(("--api-key-file {}",)),
}

#: What serve_llama.py knows: the newest spelling of each.
NEWEST_FLAGS = frozenset(flag.spellings[0].split()[0] for flag in FLAGS.values())


@dataclass(frozen=True)
class LlamaServer:
    """One llama.cpp server: a route, its GGUF file, its token file and a chat template that
    replaces the model's own, all paths on the host; and the `memory` that the model is in."""

    route: Route
    model_path: str
    token_path: str | None = None
    template_path: str | None = None
    memory: Memory | None = None

    def command_line(self, known_flags: frozenset[str]) -> list[str]:
        """The arguments, spelled as a server that knows `known_flags` takes them."""
        found = self._settings()
        return [word for name, value in found for word in FLAGS[name].words(value, known_flags)]

    def _settings(self) -> list[tuple[str, str]]:
        model, endpoint = self.route.model, self.route.endpoint
        on_cpu = self.memory is not None and self.memory.kind is Kind.RAM
        prompts = self.memory.prompts // 2**20 if self.memory else _PROMPTS_MIB
        found = [
            ("model", self.model_path),
            ("alias", model.alias),
            ("host", bind(endpoint)),
            ("port", str(endpoint.port)),
            ("context", str(model.context)),
            # Else it is four conversations, and the context is shared by them.
            ("parallel", "1"),
            # Without a GPU that is worth it, none at all: not one of an Intel Mac either.
            *([("gpu_layers", "0"), ("device", "none")] if on_cpu else []),
            *([] if on_cpu else [("gpu_layers", str(_ALL_LAYERS))]),
            ("key_cache", "q8_0"),
            ("value_cache", "q8_0"),
            ("flash_attention", "on"),
            # Read whole at the start; mapped files are paged out under pressure.
            ("loading", ""),
            ("templates", ""),
            ("metrics", ""),
            ("prompts", str(prompts)),
            ("checkpoints", str(CHECKPOINTS)),
            # By default any web page that the user visits may call the server (PR 25655).
            ("origins", endpoint.url),
        ]
        if sampling := model.sampling:
            found += [
                ("temperature", f"{sampling.temperature:g}"),
                ("top_p", f"{sampling.top_p:g}"),
                ("top_k", str(sampling.top_k)),
            ]
        if self.template_path:
            found.append(("template", self.template_path))
        if self.token_path:
            found.append(("token", self.token_path))
        return found


def bind(endpoint: Endpoint) -> str:
    """What the server listens on."""
    return endpoint.address if endpoint.loopback else "0.0.0.0"  # noqa: S104 - with a token


def flags_in_help(text: str) -> frozenset[str]:
    """The long flags that a server's `--help` names."""
    return frozenset(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))


def cause(lines: Iterable[str]) -> str | None:
    """The likely cause, and what to do, where `lines` are the last of a server that died."""
    return engine_log.cause(LLAMA_CPP, lines)
