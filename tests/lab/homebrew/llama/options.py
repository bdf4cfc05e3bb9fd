"""llama-server's options, as far as they are modelled: which build has them, and their help.

Strict as its own parser: what `--help` does not list is an invalid argument.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

COMMON, SAMPLING, SPECIFIC = "common params", "sampling params", "example-specific params"

#: The first build with the option, and the first without the older one. --no-mmap and --load-mode
#: lived side by side from b10105 to b10875, and each build around that refuses the other's name.
LOAD_MODE, NO_MMAP_GONE = 10105, 10875
#: It came with PR 25655.
CORS = 10010

_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
_MODES = ("auto", "none", "mmap", "mlock", "mmap+mlock", "dio")


class Invalid(Exception):
    """The command line is none of this build's; the text is what the server says on stderr."""


def _file(text: str) -> str:
    try:
        with open(text, encoding="utf-8") as file:  # noqa: PTH123 - pathlib doubles the start-up
            return file.read()
    except OSError:
        raise ValueError(f"error: failed to open file '{text}'\n") from None


def _one_of(*allowed: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"error: unknown value: '{text}'\n")
        return text

    return check


def _cache_type(text: str) -> str:
    if text not in _TYPES:
        raise ValueError(f"Unsupported cache type: {text}")
    return text


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("stoi") from None


def _decimal(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("stof") from None


def _layers(text: str) -> int:
    return {"auto": -1, "all": 999}.get(text) or _whole(text)


class Option(NamedTuple):
    """`names` mean yes and `no` means no; with a `hint` it takes a value, which `value` reads."""

    section: str
    names: tuple[str, ...]
    help: str
    hint: str = ""
    value: Callable[[str], object] = str
    no: tuple[str, ...] = ()
    env: str = ""
    since: int = 0
    until: int = 1 << 30

    @property
    def key(self) -> str:
        return next(name for name in self.names if name.startswith("--"))

    def described(self) -> str:
        """As common_arg::to_string has it: the help starts in column 40, in lines of 70."""
        names = [*self.names, *self.no]
        first = f"{names[0]}, " if len(names) > 1 else names[0]
        head = first.ljust(7) if len(names) > 1 else first
        head += ", ".join(names[1:]) + (f" {self.hint}" if self.hint else "")
        head = head + "\n" + " " * 40 if len(head) > 37 else head.ljust(40)
        text = self.help + (f"\n(env: {self.env})" if self.env else "")
        lines = [line for paragraph in text.split("\n") for line in _wrapped(paragraph)]
        return head + ("\n" + " " * 40).join(lines) + "\n"


def _wrapped(text: str) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + len(word) > 70:
            lines.append("")
        lines[-1] += f"{word} "
    return [line.rstrip() for line in lines]


OPTIONS = (
    Option(COMMON, ("-h", "--help", "--usage"), "print usage and exit"),
    Option(COMMON, ("--version",), "show version and build info"),
    Option(
        COMMON, ("-c", "--ctx-size"), "size of the prompt context (default: 0, from the model)",
        "N", _whole, env="LLAMA_ARG_CTX_SIZE",
    ),
    Option(
        COMMON, ("-fa", "--flash-attn"), "Flash Attention (default: 'auto')",
        "[on|off|auto]", _one_of("on", "off", "auto"), env="LLAMA_ARG_FLASH_ATTN",
    ),
    Option(
        COMMON, ("-ctk", "--cache-type-k"),
        f"KV cache data type for K\nallowed values: {', '.join(_TYPES)}\n(default: f16)",
        "TYPE", _cache_type, env="LLAMA_ARG_CACHE_TYPE_K",
    ),
    Option(
        COMMON, ("-ctv", "--cache-type-v"),
        f"KV cache data type for V\nallowed values: {', '.join(_TYPES)}\n(default: f16)",
        "TYPE", _cache_type, env="LLAMA_ARG_CACHE_TYPE_V",
    ),
    Option(
        COMMON, ("--mmap",), "whether the model is memory-mapped (default: enabled)",
        no=("--no-mmap",), env="LLAMA_ARG_MMAP", until=NO_MMAP_GONE,
    ),
    Option(
        COMMON, ("-lm", "--load-mode"),
        "how the model is loaded (default: auto)\n" + "\n".join(f"- {mode}" for mode in _MODES),
        "MODE", _one_of(*_MODES), env="LLAMA_ARG_LOAD_MODE", since=LOAD_MODE,
    ),
    Option(
        COMMON, ("-dev", "--device"),
        "devices to offload to, with commas between (none = don't offload)\n"
        "use --list-devices to see a list of available devices",
        "<dev1,dev2,..>", env="LLAMA_ARG_DEVICE",
    ),
    Option(COMMON, ("--list-devices",), "print list of available devices and exit"),
    Option(
        COMMON, ("-ngl", "--gpu-layers", "--n-gpu-layers"),
        "how many layers to store in VRAM: a number, 'auto', or 'all' (default: auto)",
        "N", _layers, env="LLAMA_ARG_N_GPU_LAYERS",
    ),
    Option(COMMON, ("-m", "--model"), "model path to load", "FNAME", env="LLAMA_ARG_MODEL"),
    Option(SAMPLING, ("--temp", "--temperature"), "temperature (default: 0.80)", "N", _decimal),
    Option(
        SAMPLING, ("--top-k",), "top-k sampling (default: 40, 0 = disabled)",
        "N", _whole, env="LLAMA_ARG_TOP_K",
    ),
    Option(SAMPLING, ("--top-p",), "top-p sampling (default: 0.95, 1.0 = disabled)", "N", _decimal),
    Option(
        SPECIFIC, ("-cram", "--cache-ram"),
        "maximum size of the prompt cache in MiB (default: 8192, -1 - no limit, 0 - disable)",
        "N", _whole, env="LLAMA_ARG_CACHE_RAM",
    ),
    Option(
        SPECIFIC, ("-ctxcp", "--ctx-checkpoints", "--swa-checkpoints"),
        "max number of context checkpoints to create per slot (default: 32)",
        "N", _whole, env="LLAMA_ARG_CTX_CHECKPOINTS",
    ),
    Option(
        SPECIFIC, ("-np", "--parallel"), "number of server slots (default: -1, -1 = auto)",
        "N", _whole, env="LLAMA_ARG_N_PARALLEL",
    ),
    Option(
        SPECIFIC, ("-a", "--alias"), "the model's names for the API, with commas between",
        "STRING", env="LLAMA_ARG_ALIAS",
    ),
    Option(
        SPECIFIC, ("--host",), "address to listen on (default: 127.0.0.1)",
        "HOST", env="LLAMA_ARG_HOST",
    ),
    Option(
        SPECIFIC, ("--port",), "port to listen on (default: 8080)",
        "PORT", _whole, env="LLAMA_ARG_PORT",
    ),
    Option(
        SPECIFIC, ("--cors-origins",), "allowed origins for CORS, with commas between (default: *)",
        "ORIGINS", env="LLAMA_ARG_CORS_ORIGINS", since=CORS,
    ),
    Option(
        SPECIFIC, ("--api-key-file",), "file with API keys, one per line (default: none)",
        "FNAME", _file, env="LLAMA_ARG_API_KEY_FILE",
    ),
    Option(
        SPECIFIC, ("--metrics",), "the endpoint for Prometheus (default: disabled)",
        env="LLAMA_ARG_ENDPOINT_METRICS",
    ),
    Option(
        SPECIFIC, ("--jinja",), "whether chat templates are jinja's (default: enabled)",
        no=("--no-jinja",), env="LLAMA_ARG_JINJA",
    ),
    Option(
        SPECIFIC, ("--chat-template-file",),
        "jinja chat template file (default: the model's own template)",
        "JINJA_TEMPLATE_FILE", _file, env="LLAMA_ARG_CHAT_TEMPLATE_FILE",
    ),
)  # fmt: skip


def of_build(number: int) -> list[Option]:
    return [option for option in OPTIONS if option.since <= number < option.until]


def usage(options: Iterable[Option]) -> str:
    """What --help prints."""
    known = list(options)
    parts = [
        f"----- {section} -----\n\n"
        + "".join(option.described() for option in known if option.section == section)
        for section in (COMMON, SAMPLING, SPECIFIC)
    ]
    return "\n\n".join(parts)


def parsed(argv: Sequence[str], options: Iterable[Option]) -> dict[str, object]:
    """The value of each option that was given, by its first long name; raises `Invalid`."""
    known = {name: option for option in options for name in (*option.names, *option.no)}
    found: dict[str, object] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        name = word.replace("_", "-") if word.startswith("--") else word
        option = known.get(name)
        if option is None:
            raise Invalid(f"error: invalid argument: {word}")
        if not option.hint:
            found[option.key] = name in option.names
            continue
        try:
            if not words:
                raise ValueError("expected value for argument")
            found[option.key] = option.value(words.pop(0))
        except ValueError as error:
            raise Invalid(
                f'error while handling argument "{word}": {error}\n\n'
                f"usage:\n{option.described()}\n\nto show complete usage, run with -h"
            ) from None
    return found
