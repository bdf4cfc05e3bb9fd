"""Run llama.cpp's server from the `xllamacpp` wheel, with llama-server's own command line.

Runs on a host, by the Python of an environment that has xllamacpp and nothing else. Takes the
flags that homeport writes and refuses any other. SIGTERM ends it.
"""

import argparse
import glob
import os
import signal
import sys
import sysconfig
from pathlib import Path
from typing import Any

#: Set once the loader's path has been extended: a second failure is final.
LOADED = "HOMEPORT_OPENMP"


def arguments(argv: "list[str] | None" = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve_llama.py", allow_abbrev=False)
    for flag in (
        "--model",
        "--alias",
        "--host",
        "--cache-type-k",
        "--cache-type-v",
        "--cors-origins",
    ):
        parser.add_argument(flag, required=True)
    for flag in (
        "--port",
        "--ctx-size",
        "--parallel",
        "--n-gpu-layers",
        "--cache-ram",
        "--ctx-checkpoints",
    ):
        parser.add_argument(flag, type=int, required=True)
    parser.add_argument("--flash-attn", choices=("on", "off", "auto"), required=True)
    parser.add_argument("--load-mode", choices=("auto", "mmap", "none"), required=True)
    parser.add_argument("--jinja", action="store_true")
    parser.add_argument("--metrics", action="store_true")
    parser.add_argument("--temp", type=float)
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--top-k", type=int)
    parser.add_argument("--device", choices=("none",))  # the wheel has no other
    parser.add_argument("--chat-template-file", type=Path)
    parser.add_argument("--api-key-file", type=Path)
    return parser.parse_args(argv)


def parameters(options: argparse.Namespace) -> Any:
    import xllamacpp

    flash_attention = {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}[options.flash_attn]
    params = xllamacpp.CommonParams()
    params.model.path = options.model
    params.model_alias = {options.alias}
    params.hostnames = [options.host]
    params.port = options.port
    params.n_ctx = options.ctx_size
    params.n_parallel = options.parallel
    params.n_gpu_layers = options.n_gpu_layers
    params.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{options.cache_type_k.upper()}")
    params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{options.cache_type_v.upper()}")
    params.flash_attn_type = getattr(
        xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{flash_attention}"
    )
    params.load_mode = getattr(
        xllamacpp.llama_load_mode, f"LLAMA_LOAD_MODE_{options.load_mode.upper()}"
    )
    params.use_jinja = options.jinja
    params.endpoint_metrics = options.metrics
    params.cors_origins = options.cors_origins
    params.cors_origins_explicit = True
    params.cache_ram_mib = options.cache_ram
    params.n_ctx_checkpoints = options.ctx_checkpoints
    if options.chat_template_file:
        params.chat_template = options.chat_template_file.read_text()
    for flag in ("temp", "top_p", "top_k"):
        if (value := getattr(options, flag)) is not None:
            setattr(params.sampling, flag, value)
    if options.api_key_file:
        params.api_keys = options.api_key_file.read_text().split()
    return params


def need_openmp() -> None:
    """Start anew with the libgomp that another wheel brought, where the system has none.

    Such a copy has a name of its own, and the loader looks for the usual name, in a path that it
    reads when a process starts.
    """
    try:
        import xllamacpp  # noqa: F401
    except ImportError as error:
        copies = glob.glob(sysconfig.get_path("purelib") + "/*.libs/libgomp*.so*")
        folder = Path(sys.prefix, "lib", "openmp")
        if "libgomp" not in str(error) or not copies or LOADED in os.environ:
            raise
        folder.mkdir(exist_ok=True)
        link = folder / "libgomp.so.1"
        if not link.exists():
            link.symlink_to(copies[0])
        path = os.pathsep.join(filter(None, [str(folder), os.environ.get("LD_LIBRARY_PATH")]))
        environment = {**os.environ, LOADED: "1", "LD_LIBRARY_PATH": path}
        os.execve(sys.executable, sys.orig_argv, environment)  # noqa: S606


def main() -> None:
    options = arguments()
    # Threads that wait for each other sleep. They would spin, and where the machine does anything
    # else that costs more than it brings: 150 tokens in 4 s, and without it in 2 to 13 s.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    need_openmp()
    if not Path(options.model).is_file():
        sys.exit(f"serve_llama.py: no such file: {options.model}")
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    import xllamacpp

    server = xllamacpp.Server(parameters(options))
    print(f"serving {options.alias} at {server.listening_address}", flush=True)
    signal.sigwait(stop)
    # No cleaning up: with a request at work the server's own waits for ever (xllamacpp 2026.10).
    os._exit(0)


if __name__ == "__main__":
    main()
