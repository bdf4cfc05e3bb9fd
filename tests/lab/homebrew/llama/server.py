"""llama-server: the command line of one of its builds, and answers of the real engine.

Runs on a host as what Homebrew installed. Only serving loads the engine, from the package that the
whole machine shares, so that --help is there at once.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from . import options

HOME = Path(__file__).parents[2]  # /opt/darwin, or /opt/linuxbrew

#: The first build that knows the model of the catalog, in the spring of 2026.
GEMMA4 = 8640

#: What Metal gives to programs, in MiB by GiB of memory: from published --list-devices.
_METAL = {8: 5461, 16: 12124, 24: 18186, 36: 28753, 48: 38338, 64: 53084, 128: 110100}


def main(number: int, version: str, packages: str) -> None:
    known = options.of_build(number)
    if set_here := [name for name in os.environ if name.startswith("LLAMA_ARG_")]:
        sys.exit(f"the lab's llama-server does not read {set_here[0]}")
    try:
        given = options.parsed(sys.argv[1:], known)
    except options.Invalid as error:
        sys.exit(str(error))
    if "--version" in given:
        print(_version(number, version), file=sys.stderr)
    elif "--list-devices" in given:
        print("Available devices:", *(f"  {line}" for line in devices()), sep="\n")
    elif "--help" in given:
        print(options.usage(known), end="")
    elif problem := _problem(given):
        sys.exit(problem)
    else:
        serve(given, number, packages)


def devices() -> list[str]:
    """What Homebrew's build finds beside the CPU: BLAS is a device as well, without memory."""
    oids = _sysctl()
    if not oids:
        return ["BLAS: OpenBLAS (0 MiB, 0 MiB free)"]
    blas = "BLAS: Accelerate (0 MiB, 0 MiB free)"
    if oids["hw.machine"] != "arm64":
        return [blas]  # built without Metal
    size = int(oids["hw.memsize"]) >> 20
    metal = int(oids["iogpu.wired_limit_mb"]) or _METAL.get(size >> 10) or size * 3 // 4
    chip = oids["machdep.cpu.brand_string"]
    return [f"MTL0: {chip} ({metal} MiB, {metal - 1} MiB free)", blas]


def _sysctl() -> dict[str, str]:
    """Of the Mac, where it is one."""
    try:
        lines = (HOME / "state/sysctl").read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(": ", 1) for line in lines)


def _version(number: int, version: str) -> str:
    oids, commit = _sysctl(), f"{number:09x}"
    built = f"AppleClang 17.0.0.17000604 for Darwin {oids['hw.machine']}" if oids else ""
    built = f"built with {built or 'GNU 13.3.0 for Linux x86_64'}"
    if "." not in version:
        return f"version: {number} ({commit})\n{built}"
    # Since b10621; the line before it comes from the log.
    first = "0.00.000.206 I srv  llama_server: initializing ..."
    return f"{first}\nversion: {version} (build {number}, commit {commit})\n{built}"


def _problem(given: dict[str, object]) -> str:
    if "--model" not in given:
        return "error: --model is required"
    wanted = str(given.get("--device", "none")).split(",")
    there = {line.partition(":")[0] for line in devices()} | {"none"}
    unknown = next((name for name in wanted if name not in there), None)
    return f'error while handling argument "--device": invalid device: {unknown}' if unknown else ""


def serve(given: dict[str, object], number: int, packages: str) -> None:
    """Answer until SIGTERM, which ends it at once while the model is still being loaded."""
    model = given["--model"]
    if number < GEMMA4:
        sys.exit(
            "llama_model_load: error loading model: error loading model architecture: "
            "unknown model architecture: 'gemma4'\n"
            "llama_model_load_from_file_impl: failed to load model\n"
            f"common_init_from_params: failed to load model '{model}'\n"
            f"srv    load_model: failed to load model, '{model}'\n"
            "srv    operator(): operator(): cleaning up before exit...\n"
            "main: exiting due to model loading error"
        )
    engine = _engine(packages)
    try:
        server = engine.Server(_parameters(engine, given))
    except RuntimeError:  # it has said what is wrong
        sys.exit(1)
    # At once, since its own cleaning up waits for ever where a request is at work.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(0))
    while server:
        signal.pause()


def _engine(packages: str) -> Any:
    import ctypes

    # Threads that spin while they wait take the cores from the other hosts of the lab.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    # A library that is there under its name is not looked for.
    ctypes.CDLL(str(HOME / "lib/libgomp.so.1"), ctypes.RTLD_GLOBAL)
    sys.path.append(packages)
    import xllamacpp

    return xllamacpp


def _parameters(engine: Any, given: dict[str, object]) -> Any:
    params = engine.CommonParams()
    params.model.path = given["--model"]
    params.model_alias = set(str(given.get("--alias", "")).split(",")) - {""}
    params.hostnames = str(given.get("--host", "127.0.0.1")).split(",")
    params.port = given.get("--port", 8080)
    attributes = {
        "--ctx-size": "n_ctx",
        "--parallel": "n_parallel",
        "--gpu-layers": "n_gpu_layers",
        "--cache-ram": "cache_ram_mib",
        "--ctx-checkpoints": "n_ctx_checkpoints",
        "--jinja": "use_jinja",
        "--metrics": "endpoint_metrics",
        "--chat-template-file": "chat_template",
    }
    for name, attribute in attributes.items():
        if name in given:
            setattr(params, attribute, given[name])
    for name, attribute in (("--temp", "temp"), ("--top-p", "top_p"), ("--top-k", "top_k")):
        if name in given:
            setattr(params.sampling, attribute, given[name])
    for name, attribute in (("--cache-type-k", "cache_type_k"), ("--cache-type-v", "cache_type_v")):
        kind = f"GGML_TYPE_{given.get(name, 'f16')}".upper()
        setattr(params, attribute, getattr(engine.ggml_type, kind))
    attention = {"on": "ENABLED", "off": "DISABLED"}.get(str(given.get("--flash-attn")), "AUTO")
    params.flash_attn_type = getattr(
        engine.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{attention}"
    )
    mode = str(given.get("--load-mode", "auto" if given.get("--mmap", True) else "none")).upper()
    mode = {"MMAP+MLOCK": "MMAP_MLOCK", "DIO": "DIRECT_IO"}.get(mode, mode)
    params.load_mode = getattr(engine.llama_load_mode, f"LLAMA_LOAD_MODE_{mode}")
    if "--cors-origins" in given:
        params.cors_origins, params.cors_origins_explicit = given["--cors-origins"], True
    if "--api-key-file" in given:
        lines = str(given["--api-key-file"]).splitlines()
        params.api_keys = [line for line in lines if line and not line.startswith("#")]
    return params
