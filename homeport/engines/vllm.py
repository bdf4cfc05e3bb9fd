"""vLLM's server. Pure.

Options, names of parsers, paths and variables were read out of 0.32.0 by its own argument parser
and registries, and are checked against them in tests/serving/; what belongs to another version says
so.
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

NAME = "vllm"

#: Seconds an engine may take to load; its own default of 600 ends a load of 750 GB.
READY_TIMEOUT = 7_200

#: Its key guards /v1, /v2, /inference and /cohere only (entrypoints/serve/middleware, 0.32.0).
UNGUARDED: tuple[str, ...] = (
    *("/invocations (answers like /v1)", "/tokenize", "/detokenize", "/metrics", "/health"),
    *("/ping", "/load", "/version", "/docs", "/openapi.json", "/scale_elastic_ep"),
)

METRICS = Metrics(
    cache_use="vllm:kv_cache_usage_perc",  # vllm:gpu_cache_usage_perc before 0.16
    cache_hits="vllm:prefix_cache_hits_total",
    running="vllm:num_requests_running",
    waiting="vllm:num_requests_waiting",
    first_token="vllm:time_to_first_token_seconds",  # noqa: S106 - a metric
)

#: The version whose names these are.
_READ = Version("0.32.0")
TOOL_PARSERS = (
    *("apertus", "cohere_command3", "cohere_command4", "deepseek_v3", "deepseek_v31"),
    *("deepseek_v32", "deepseek_v4", "deepseek_v41", "dots", "ernie45", "functiongemma"),
    *("gemma4", "gigachat3", "glm45", "glm47", "granite", "granite-20b-fc", "granite4"),
    *("hermes", "hf", "hunyuan_a13b", "hy_v3", "hy_v4", "inkling", "internlm", "jamba"),
    *("k2_horizon", "kimi_k2", "kimi_k3", "lfm2", "ling3", "llama3_json", "llama4_json"),
    *("llama4_pythonic", "longcat", "mimo", "minicpm5", "minimax_m2", "minimax_m3"),
    *("mistral", "muse_glimmer", "olmo3", "openai", "phi4_mini_json", "plamo3"),
    *("poolside_v1", "pythonic", "qwen3_coder", "qwen3_json", "qwen3_xml", "seed_oss"),
    *("step3", "step3p5", "xlam"),
)
REASONING_PARSERS = (
    *("cohere_command3", "cohere_command4", "deepseek_r1", "deepseek_v3", "deepseek_v4"),
    *("deepseek_v41", "ernie45", "gemma4", "glm45", "glm47", "granite"),
    *("granite_thinking_parser", "hf", "holo2", "hunyuan_a13b", "hy_v3", "hy_v4", "inkling"),
    *("k2_horizon", "kimi_k2", "kimi_k3", "ling3", "mimo", "minicpmv", "minimax_m2"),
    *("minimax_m2_append_think", "minimax_m3", "mistral", "muse_glimmer", "nemotron_v3"),
    *("olmo3", "openai_gptoss", "plamo3", "poolside_v1", "qwen3", "seed_oss", "step3"),
    "step3p5",
)

_KV_CACHE_TYPES = ("auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2")

_BY_SERVING = "Set it in `serving`"
_BY_ROUTE = "Set it in the route, in group_data/all.py"
_OURS = {
    "--host": _BY_ROUTE,
    "--port": _BY_ROUTE,
    "--model": "The route's model says it",
    "--served-model-name": "The route's alias says it",
    "--max-model-len": "Set the route's context",
    "--api-key": "A command line is no place for a token. Set the route's token_file or token_env",
    "--tensor-parallel-size": _BY_SERVING,
    "-tp": _BY_SERVING,
    "--pipeline-parallel-size": _BY_SERVING,
    "-pp": _BY_SERVING,
    "--tool-call-parser": _BY_SERVING,
    "--reasoning-parser": _BY_SERVING,
    "--enable-auto-tool-choice": "Set tool_call_parser in `serving`",
    "--kv-cache-dtype": _BY_SERVING,
    "--speculative-config": "Set speculative_tokens in `serving`",
    "--enable-prefix-caching": "Set prefix_caching in `serving`",
    "--no-enable-prefix-caching": "Set prefix_caching in `serving`",
    "--max-num-batched-tokens": _BY_SERVING,
    "--max-num-seqs": _BY_SERVING,
    "--gpu-memory-utilization": _BY_SERVING,
    "--enable-prompt-tokens-details": "It is always on",
    "--nnodes": "Set nodes",
    "--node-rank": "Set nodes",
    "--master-addr": "Set nodes, and each host's address",
    "--master-port": "Set nodes",
    "--headless": "Set nodes",
    "--distributed-executor-backend": "Set nodes",
}
_RENAMED = {
    "--disable-log-requests": "Requests are not logged unless --enable-log-requests says so",
    "--no-disable-log-requests": "It is called --enable-log-requests now",
    "--guided-decoding-backend": "It is called --structured-outputs-config.backend now",
    "--num-lookahead-slots": "Set speculative_tokens in `serving`",
    "--use-v2-block-manager": "There is one only; leave it out",
    "--task": "It is called --runner now",
}


def module() -> list[str]:
    return ["-m", "vllm.entrypoints.cli.main", "serve"]


def check(serving: Serving) -> list[str]:
    version, recipe = serving.version, serving.recipe
    if version.before(0, 23):
        raise SettingsError(
            "engine_lock",
            str(version),
            "vLLM before 0.23 refuses the system messages that Claude Code sends inside a "
            "conversation",
            "Pin 0.23 or newer, 0.31 or newer by preference",
        )
    warnings = []
    if version.before(0, 24):
        warnings.append(
            f"vLLM {version}: tool calls of GLM 4.7 and later are parsed right since 0.24"
        )
    if version.before(0, 31):
        warnings.append(
            f"vLLM {version} can be stopped by a request (CVE-2026-105757, CVE-2026-105754, until "
            "0.30) and made to run a model's code (CVE-2026-114053, until 0.31)"
        )
    check_name("tool_call_parser", recipe.tool_call_parser, TOOL_PARSERS, _READ, version)
    check_name("reasoning_parser", recipe.reasoning_parser, REASONING_PARSERS, _READ, version)
    check_name("kv_cache_dtype", recipe.kv_cache_dtype, _KV_CACHE_TYPES, _READ, version)
    check_arguments(serving.arguments, _OURS, _RENAMED)
    if "--trust-remote-code" in serving.arguments:
        warnings.append("--trust-remote-code: the server runs code that comes with the weights")
    return warnings


def secret(token: str) -> Secret:
    """Its environment, so that the token is in no command line."""
    return Secret("env", f"VLLM_API_KEY={token}\n")


def command_line(serving: Serving, secrets: str | None) -> list[str]:
    route, recipe, place = serving.route, serving.recipe, serving.place
    arguments = [
        serving.model_path,
        # The first name is the one that answers carry.
        *("--served-model-name", route.alias, *serving.names),
        *("--host", serving.bind),
        *("--port", str(route.endpoint.port)),
        *("--max-model-len", str(route.model.context)),
        *("--tensor-parallel-size", str(recipe.tensor_parallel_size)),
        *("--pipeline-parallel-size", str(recipe.pipeline_parallel_size)),
        *("--kv-cache-dtype", recipe.kv_cache_dtype),
        "--enable-prefix-caching" if recipe.prefix_caching else "--no-enable-prefix-caching",
        # Cached tokens stand in the usage of an answer, by which a deploy proves that some are.
        "--enable-prompt-tokens-details",
    ]
    if serving.version.on_gpus:
        arguments += ["--gpu-memory-utilization", f"{recipe.gpu_memory_utilization:g}"]
    if recipe.tool_call_parser:
        arguments += ["--enable-auto-tool-choice", "--tool-call-parser", recipe.tool_call_parser]
    if recipe.reasoning_parser:
        arguments += ["--reasoning-parser", recipe.reasoning_parser]
    if recipe.speculative_tokens:
        arguments += ["--speculative-config.method", "mtp"]
        arguments += [
            "--speculative-config.num_speculative_tokens",
            str(recipe.speculative_tokens),
        ]
    if recipe.max_num_batched_tokens:
        arguments += ["--max-num-batched-tokens", str(recipe.max_num_batched_tokens)]
    if recipe.max_num_seqs:
        arguments += ["--max-num-seqs", str(recipe.max_num_seqs)]
    if place.nodes > 1:
        arguments += ["--distributed-executor-backend", "mp", "--nnodes", str(place.nodes)]
        arguments += ["--node-rank", str(place.rank), "--master-addr", place.head]
        arguments += ["--master-port", str(MASTER_PORT)]
        if place.rank:
            arguments.append("--headless")
    return [*arguments, *serving.arguments]


def environment(serving: Serving) -> dict[str, str]:
    place = serving.place
    found = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_ENGINE_READY_TIMEOUT_S": str(READY_TIMEOUT),
    }
    if place.nodes > 1:
        found["VLLM_HOST_IP"] = place.own
    if not serving.version.on_gpus:
        # Bound to cores it would take those that other programs of the machine are bound to.
        found |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
    return found


def loading(line: str) -> str | None:
    return engine_log.loading(NAME, line)


def cause(lines: Iterable[str]) -> str | None:
    return engine_log.cause(NAME, lines)
