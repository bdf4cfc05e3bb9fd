"""What the log of an engine's server says: how far loading is, and why it died. Pure.

The words of vLLM are those of 0.32.0, of SGLang those of 0.5.23, of llama.cpp those of b11549,
except where another is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Optional

from .wanted import LLAMA_CPP, MIRROR, ROUTER, SGLANG, VLLM

#: What a log must not give away: "api_key=['...', '...']", "--token ...", "http://user:...@host".
#: `explain.hidden` is for settings: of "KeyError: 'glm74'" it would leave nothing.
_SECRET = re.compile(
    r"(?i)((?:keys?|tokens?|secret|passw(?:or)?d|authorization)\b['\"]?\s*[=:]\s*)"
    r"(?:\[[^\]]*\]|'[^']*'|\"[^\"]*\"|(?:(?:bearer|basic) )?[^\s,&)]+)"
    r"|(--[\w-]*(?:key|token|secret|passw(?:or)?d)(?:['\"]?,)?\s+)\S+"
    r"|(\bbearer\s+)[^\s'\",]+"
    r"|(\w://)\S+@"
    r"|\bsk-[\w-]{8,}|\bhf_\w{8,}"
)

#: What a line of a log says of an error, without what stands before it.
_RAISED = re.compile(r"\b([A-Za-z_.]*(Error|Exception)(: |\()|error: |Killed process ).*")

_LLAMA_CPP_STEPS = (
    ("load_model: loading model", "loading weights"),
    ("load_model: initializing", "warming up"),
    ("init: listening on", "ready"),
)

_VLLM_STEPS = (
    ("Starting to load model", "loading weights"),
    ("for vLLM's torch.compile", "compiling"),
    ("Capturing CUDA graphs", "capturing CUDA graphs"),
    ("Capturing cudagraphs", "capturing CUDA graphs"),
    ("KV cache size: ", "warming up"),
    ("Application startup complete", "ready"),
)

_SGLANG_STEPS = (
    ("Load weight begin", "loading weights"),
    ("Load weight end", "warming up"),
    ("Capture cuda graph begin", "capturing CUDA graphs"),
    ("fired up and ready to roll", "ready"),
)

#: What lines of a log have in them, and how far the server then is.
_STEPS = {
    LLAMA_CPP: _LLAMA_CPP_STEPS,
    VLLM: _VLLM_STEPS,
    SGLANG: _SGLANG_STEPS,
    ROUTER: (),
    MIRROR: (),
}

_LLAMA_CPP_CAUSES = (
    (
        r"unknown model architecture: '([^']*)'",
        "this llama.cpp is too old for the model's architecture, {0}",
    ),
    (r"error: invalid argument: (\S+)", "this llama.cpp does not know {0}"),
    (r"(?i)out of memory|failed to allocate|cannot allocate", "there is not enough memory: set a "
     "smaller quant in group_data/laptops.py, or a smaller context"),
    (r"couldn't bind|address already in use", "another program has its port"),
)  # fmt: skip

_VLLM_CAUSES = (
    (
        r"(?i)invalid (?:tool call|reasoning) parser|(?:tool|reasoning) parser.{0,40}not found",
        "the name of a parser is wrong: set tool_call_parser and reasoning_parser in `serving`",
    ),
    (
        r"(?i:address already in use)",
        "something else listens on its port: `ss -ltnp` says who",
    ),
    (
        r"Free memory on device \S+ \(([\d.]+/[\d.]+ GiB)\)",
        "the GPUs are not free ({0}): `nvidia-smi` says whose processes are on them",
    ),
    (
        r"(?:larger than|exceeds) the (?:available|maximum number of) (?:KV cache|tokens)"
        r"|No available memory for the cache blocks",
        "the context does not fit into the memory that is left: set a smaller context, or a larger "
        "gpu_memory_utilization",
    ),
    (
        r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory",
        "the GPUs ran out of memory: set max_num_batched_tokens, max_num_seqs or "
        "gpu_memory_utilization lower in `serving`",
    ),
    (
        r"Driver/library version mismatch|driver on your system is too old|Failed to infer device",
        "the NVIDIA driver does not fit: see `nvidia-smi`, and reboot after an upgrade",
    ),
    (
        r"SafetensorError|HeaderTooLarge|IncompleteMetadata|No such file.*safetensors"
        r"|Cannot find any model weights|not initialized from checkpoint",
        "a file of the weights is missing or damaged: run the deep look at them (README, Weights)",
    ),
    (
        r"does not recognize this architecture|are not supported for now",
        "this version does not know the model's architecture: a newer one is needed",
    ),
    (r"ModuleNotFoundError: (.*)", "its environment is broken ({0})"),
    (
        r"(lib\S+\.so[.\d]*): cannot open shared object file",
        "the library {0} is missing on the host: install the package that has it",
    ),
    (r"oom-kill|Out of memory: Killed", "the host ran out of memory"),
)

_SGLANG_CAUSES = (
    (r"(?i:address already in use)", "something else listens on its port: `ss -ltnp` says who"),
    (
        r"Not enough memory\. Please try to increase --mem-fraction-static",
        "the weights leave no room for the cache: set a larger gpu_memory_utilization in `serving`",
    ),
    (
        r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory",
        "the GPUs ran out of memory: set gpu_memory_utilization or max_num_batched_tokens lower in "
        "`serving`",
    ),
    (
        r"Driver/library version mismatch|driver on your system is too old",
        "the NVIDIA driver does not fit: see `nvidia-smi`, and reboot after an upgrade",
    ),
    (
        r"SafetensorError|HeaderTooLarge|IncompleteMetadata|No such file.*safetensors"
        r"|Cannot find any model weights",
        "a file of the weights is missing or damaged: run the deep look at them (README, Weights)",
    ),
    (r"ModuleNotFoundError: (.*)", "its environment is broken ({0})"),
    (
        r"(lib\S+\.so[.\d]*): cannot open shared object file",
        "the library {0} is missing on the host: install the package that has it",
    ),
    (r"oom-kill|Out of memory: Killed", "the host ran out of memory"),
)

_ROUTER_CAUSES = ((r"cannot bind socket|Address already in use", "another program has its port"),)

#: Patterns of a log, and what they mean: what is wrong, and after a colon what to do.
_CAUSES = {
    LLAMA_CPP: _LLAMA_CPP_CAUSES,
    VLLM: _VLLM_CAUSES,
    SGLANG: _SGLANG_CAUSES,
    ROUTER: _ROUTER_CAUSES,
    MIRROR: _ROUTER_CAUSES,  # in the words of the kernel
}


def cause(engine: str, lines: Iterable[str]) -> Optional[str]:
    """The likely cause, and what to do, where `lines` are the last of a server that died."""
    if engine != LLAMA_CPP:
        return _first_cause(lines, _CAUSES[engine])
    for line in reversed(list(lines)):  # the log is of all starts, and the last one counts
        if found := _first_cause([line], _CAUSES[engine]):
            return found
    return None


def loading(engine: str, line: str) -> Optional[str]:
    """How far a line says that loading is."""
    if found := re.search(r"checkpoint shards:\s+(\d+)% Completed \| (\d+/\d+)", line):
        return f"loading weights, {found[1]} % ({found[2]} files)"
    return next((words for part, words in _STEPS[engine] if part in line), None)


def meaningful(lines: Iterable[str], count: int) -> list[str]:
    """The last `count` of `lines` that say why a server died, where any do; else the last."""
    whole = [line for line in lines if line.strip()]
    # What was raised, once: each process that hears of it says it again, with a prefix of its own.
    raised = [found[0] for line in whole if (found := _RAISED.search(line))]
    return [without_secrets(line) for line in (list(dict.fromkeys(raised)) or whole)[-count:]]


def without_secrets(text: str) -> str:
    return _SECRET.sub(lambda found: "%s…" % next(filter(None, found.groups()), ""), text)


def _first_cause(lines: Iterable[str], causes: Iterable[tuple[str, str]]) -> Optional[str]:
    text = "\n".join(lines)
    for pattern, sentence in causes:
        if found := re.search(pattern, text):
            return sentence.format(*found.groups())
    return None
