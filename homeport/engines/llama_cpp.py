"""llama.cpp's server: settings -> command line. Pure.

Two programs take this command line: Homebrew's (or anybody's) `llama-server`, and
`homeport/remote/serve_llama.py`, which runs the same server from the PyPI wheel `xllamacpp`.
Flags were checked against a build of 2026-10 and its `--help`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..model import Route

#: MiB. The server's own default of 8,192 is half of a 16 GB laptop.
PROMPT_CACHE_MIB = 1024

#: The flags that serve_llama.py knows: those of `command_line` below, in their newest spelling.
NEWEST_FLAGS = frozenset(
    {
        *("--model", "--alias", "--host", "--port", "--ctx-size", "--parallel", "--n-gpu-layers"),
        *("--cache-type-k", "--cache-type-v", "--flash-attn", "--load-mode", "--jinja"),
        *("--metrics", "--cache-ram", "--temp", "--top-p", "--top-k", "--api-key-file"),
        "--cors-origins",
    }
)


@dataclass(frozen=True)
class LlamaServer:
    """One llama.cpp server: a route, its GGUF file and its token file, both paths on the host."""

    route: Route
    model_path: str
    token_path: str | None = None
    parallel: int = 1
    gpu_layers: int = 99
    cache_type: str = "q8_0"

    def command_line(self, known_flags: frozenset[str]) -> list[str]:
        """The arguments, spelled as a server that knows `known_flags` takes them."""
        model, endpoint = self.route.model, self.route.endpoint
        arguments = [
            *("--model", self.model_path),
            *("--alias", model.alias),
            *("--host", endpoint.address if endpoint.loopback else "0.0.0.0"),  # noqa: S104 - with a token
            *("--port", str(endpoint.port)),
            # The context is shared by all slots: `parallel` conversations get a part each.
            *("--ctx-size", str(model.context * self.parallel)),
            *("--parallel", str(self.parallel)),
            *("--n-gpu-layers", str(self.gpu_layers)),
            *("--cache-type-k", self.cache_type),
            *("--cache-type-v", self.cache_type),
            *("--flash-attn", "on"),
            # --no-mmap was replaced by --load-mode in 2026; each build refuses the other's name.
            *(("--load-mode", "none") if "--load-mode" in known_flags else ("--no-mmap",)),
            "--jinja",
            "--metrics",
        ]
        if "--cache-ram" in known_flags:
            arguments += ["--cache-ram", str(PROMPT_CACHE_MIB)]
        if "--cors-origins" in known_flags:
            # By default any web page that the user visits may call the server (PR 25655).
            arguments += ["--cors-origins", endpoint.url]
        if sampling := model.sampling:
            arguments += ["--temp", f"{sampling.temperature:g}", "--top-p", f"{sampling.top_p:g}"]
            arguments += ["--top-k", str(sampling.top_k)]
        if self.token_path:
            arguments += ["--api-key-file", self.token_path]
        return arguments


def flags_in_help(text: str) -> frozenset[str]:
    """The long flags that a server's `--help` names."""
    return frozenset(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text))
