"""SGLang's server. Pure.

Options, names of parsers, paths and what it logs were read out of 0.5.23, and the command line is
checked against its own parser in tests/serving/. It has never been run on a GPU here.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..doctor import engine_log
from ..errors import SettingsError
from . import (
    MASTER_PORT,
    Metrics,
    Secret,
    Serving,
    Version,
    check_arguments,
    check_name,
)

NAME = "sglang"

#: Its key guards all but these, which are prefixes (srt/utils/auth.py, 0.5.23).
UNGUARDED: tuple[str, ...] = ("/health", "/ready", "/metrics", "/v1/realtime (a WebSocket)")

METRICS = Metrics(
    cache_use="sglang:token_usage",
    cache_hits="sglang:cached_tokens_total",
    running="sglang:num_running_reqs",
    waiting="sglang:num_queue_reqs",
    first_token="sglang:time_to_first_token_seconds",  # noqa: S106 - a metric
)

#: The version whose names these are.
_READ = Version("0.5.23")
TOOL_PARSERS = (
    *("auto", "apertus2509", "beam", "cohere_command4", "deepseekv3", "deepseekv31"),
    *("deepseekv32", "deepseekv4", "deepseekv41", "dots", "glm", "glm45", "glm47", "gpt-oss"),
    *("k2_horizon", "kimi_k2", "kimi_k3", "lfm2", "ling3", "llama3", "mimo", "minicpm5"),
    *("mistral", "muse", "poolside_v1", "pythonic", "qwen", "qwen25", "qwen3_coder", "spark25"),
    *("step3", "step3p5", "minimax-m2", "minimax-m3", "nanbeige", "trinity", "interns1"),
    *("hermes", "hunyuan", "gigachat3", "gigachat35", "gemma4", "inkling", "iquest_q1"),
    "response_template",
)
REASONING_PARSERS = (
    *("auto", "apertus2509", "beam", "deepseek-r1", "deepseek-v3", "deepseek-v4"),
    *("deepseek-v41", "dots", "glm45", "ling3", "hunyuan", "gpt-oss", "k2_horizon", "kimi"),
    *("kimi_k2", "kimi_k3", "mimo", "muse", "poolside_v1", "qwen3", "qwen3-thinking"),
    *("minimax", "minimax-append-think", "minimax-m3", "nanbeige", "step3", "step3p5"),
    *("mistral", "nemotron_3", "granite_thinking_parser", "interns1", "gemma4", "inkling"),
    *("iquest_q1", "cohere_command4", "gigachat35", "response_template"),
)

#: The share of a GPU's memory that a step takes: 0.8 is advised for GLM-5.2, where vLLM, which
#: counts it in, has 0.9.
_STEP = 0.1

#: What the recipe's words for the cache are called here.
_KV_CACHE_TYPES = {
    "auto": "auto",
    "fp8": "fp8_e4m3",
    "fp8_e4m3": "fp8_e4m3",
    "fp8_e5m2": "fp8_e5m2",
    "bfloat16": "bfloat16",
}

_BY_SERVING = "Set it in `serving`"
_BY_ROUTE = "Set it in the route, in group_data/all.py"
_OURS = {
    "--host": _BY_ROUTE,
    "--port": _BY_ROUTE,
    "--model-path": "The route's model says it",
    "--model": "The route's model says it",
    "--served-model-name": "The route's alias says it",
    "--context-length": "Set the route's context",
    "--api-key": "A command line is no place for a token. Set the route's token_file or token_env",
    "--config": "The token goes by it; write each option out",
    "--tp": _BY_SERVING,
    "--tp-size": _BY_SERVING,
    "--tensor-parallel-size": _BY_SERVING,
    "--pp-size": _BY_SERVING,
    "--pipeline-parallel-size": _BY_SERVING,
    "--tool-call-parser": _BY_SERVING,
    "--reasoning-parser": _BY_SERVING,
    "--kv-cache-dtype": _BY_SERVING,
    "--mem-fraction-static": "Set gpu_memory_utilization in `serving`",
    "--max-running-requests": "Set max_num_seqs in `serving`",
    "--chunked-prefill-size": "Set max_num_batched_tokens in `serving`",
    "--speculative-algorithm": "Set speculative_tokens in `serving`",
    "--speculative-num-steps": "Set speculative_tokens in `serving`",
    "--speculative-eagle-topk": "Set speculative_tokens in `serving`",
    "--speculative-num-draft-tokens": "Set speculative_tokens in `serving`",
    "--enable-metrics": "It is always on",
    "--enable-cache-report": "It is always on",
    "--disable-radix-cache": "Set prefix_caching in `serving`",
    "--dist-init-addr": "Set nodes, and each host's address",
    "--nccl-init-addr": "Set nodes, and each host's address",
    "--nnodes": "Set nodes",
    "--node-rank": "Set nodes",
}
_RENAMED = {
    "--enable-prefix-caching": "RadixAttention does that, and is on. Set prefix_caching in "
    "`serving` to have it off",
    "--max-model-len": "Set the route's context",
    "--enable-auto-tool-choice": "Set tool_call_parser in `serving`",
    "--gpu-memory-utilization": "Set it in `serving`",
    "--pp": "It is called pipeline_parallel_size. Set it in `serving`",
}


def module() -> list[str]:
    return ["-m", "sglang.launch_server"]


def secret(token: str) -> Secret:
    """It takes its key by a file of options only; no variable has it."""
    return Secret("yaml", f'api-key: "{token}"\n')


def check(serving: Serving) -> list[str]:
    version, recipe = serving.version, serving.recipe
    if version.before(0, 5, 9):
        raise SettingsError(
            "engine_lock",
            str(version),
            "SGLang before 0.5.9 does not speak the Anthropic Messages API",
            "Pin 0.5.9 or newer",
        )
    check_name("tool_call_parser", recipe.tool_call_parser, TOOL_PARSERS, _READ, version)
    check_name("reasoning_parser", recipe.reasoning_parser, REASONING_PARSERS, _READ, version)
    check_name("kv_cache_dtype", recipe.kv_cache_dtype, tuple(_KV_CACHE_TYPES), _READ, version)
    check_arguments(serving.arguments, _OURS, _RENAMED)
    if "--trust-remote-code" in serving.arguments:
        return ["--trust-remote-code: the server runs code that comes with the weights"]
    return []


def command_line(serving: Serving, secrets: str | None) -> list[str]:
    route, recipe, place = serving.route, serving.recipe, serving.place
    arguments = [
        *("--model-path", serving.model_path),
        # One name; any other is answered as well, so background calls need none of their own.
        *("--served-model-name", route.alias),
        *("--host", serving.bind),
        *("--port", str(route.endpoint.port)),
        *("--context-length", str(route.model.context)),
        *("--tp-size", str(recipe.tensor_parallel_size)),
        *("--pp-size", str(recipe.pipeline_parallel_size)),
        *("--kv-cache-dtype", _KV_CACHE_TYPES.get(recipe.kv_cache_dtype, recipe.kv_cache_dtype)),
        # Of weights and cache alone; what a step takes besides comes out of the rest.
        *("--mem-fraction-static", f"{max(recipe.gpu_memory_utilization - _STEP, 0.1):.2g}"),
        "--enable-metrics",
        # Cached tokens stand in the usage of an answer, by which a deploy proves that some are.
        "--enable-cache-report",
    ]
    if recipe.tool_call_parser:
        arguments += ["--tool-call-parser", recipe.tool_call_parser]
    if recipe.reasoning_parser:
        arguments += ["--reasoning-parser", recipe.reasoning_parser]
    if recipe.speculative_tokens:
        # With one candidate a step there are steps + 1 tokens; it sets others right itself.
        arguments += ["--speculative-algorithm", "EAGLE"]
        arguments += ["--speculative-num-steps", str(recipe.speculative_tokens)]
        arguments += ["--speculative-eagle-topk", "1"]
        arguments += ["--speculative-num-draft-tokens", str(recipe.speculative_tokens + 1)]
    if not recipe.prefix_caching:
        arguments.append("--disable-radix-cache")
    if recipe.max_num_batched_tokens:
        arguments += ["--chunked-prefill-size", str(recipe.max_num_batched_tokens)]
    if recipe.max_num_seqs:
        arguments += ["--max-running-requests", str(recipe.max_num_seqs)]
    if place.nodes > 1:
        arguments += ["--dist-init-addr", f"{place.head}:{MASTER_PORT}"]
        arguments += ["--nnodes", str(place.nodes), "--node-rank", str(place.rank)]
    if secrets:
        # At level info it logs all its options, the key among them. Not "--config=", which it
        # takes no notice of.
        arguments += ["--config", secrets]
        if not any(flag.startswith("--log-level") for flag in serving.arguments):
            arguments += ["--log-level", "warning"]
    return [*arguments, *serving.arguments]


def environment(serving: Serving) -> dict[str, str]:
    return {
        "HF_HUB_OFFLINE": "1",
        # Compiling kernels takes longer than the ten minutes it gives its first request.
        "SGLANG_WARMUP_TIMEOUT": "3600",
    }


def loading(line: str) -> str | None:
    return engine_log.loading(NAME, line)


def cause(lines: Iterable[str]) -> str | None:
    return engine_log.cause(NAME, lines)
