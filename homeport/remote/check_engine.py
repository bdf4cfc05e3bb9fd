"""Ask an engine's own argument parser and registries whether it would take a command line.

Runs on a host, by the Python of the engine's environment: check_engine.py ENGINE ARGUMENTS...
Prints one JSON object: {"problem": null, or the sentence, "version": "0.32.0"}. Needs no GPU.
"""

import contextlib
import importlib.metadata
import io
import json
import sys
from typing import Any


class Refused(Exception):
    """The sentence that says why the engine would not start."""


def check_vllm(arguments: "list[str]") -> None:
    from vllm.entrypoints.cli.serve import cmd_init  # type: ignore[import-not-found]
    from vllm.utils.argparse_utils import (  # type: ignore[import-not-found]
        FlexibleArgumentParser,
    )

    root = FlexibleArgumentParser()
    serve = cmd_init()[0]
    serve.subparser_init(root.add_subparsers(dest="subparser"))
    found = parsed(root, ["serve", *arguments])
    serve.validate(found)
    from vllm.reasoning import ReasoningParserManager  # type: ignore[import-not-found]
    from vllm.tool_parsers import ToolParserManager  # type: ignore[import-not-found]

    check_name("tool_call_parser", found.tool_call_parser, ToolParserManager.list_registered())
    reasoning = getattr(found, "reasoning_parser", None)
    if not reasoning:
        reasoning = found.structured_outputs_config.reasoning_parser
    check_name("reasoning_parser", reasoning, ReasoningParserManager.list_registered())


def check_sglang(arguments: "list[str]") -> None:
    import argparse

    from sglang.srt.server_args import ServerArgs  # type: ignore[import-not-found]

    parser = argparse.ArgumentParser()
    ServerArgs.add_cli_args(parser)
    parsed(parser, arguments)


def parsed(parser: Any, arguments: "list[str]") -> Any:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parser.parse_args(arguments)
    except SystemExit:
        words = said.getvalue().strip().splitlines() or ["it says nothing"]
        raise Refused(words[-1].rpartition("error: ")[2]) from None


def check_name(field: str, name: "str | None", known: "list[str]") -> None:
    if name and name not in known:
        raise Refused("%s %r is unknown; known are %s" % (field, name, ", ".join(sorted(known))))


def main() -> None:
    engine, arguments = sys.argv[1], sys.argv[2:]
    problem = None
    out, sys.stdout = sys.stdout, sys.stderr  # some print when they are imported
    try:
        {"vllm": check_vllm, "sglang": check_sglang}[engine](arguments)
    except Refused as refused:
        problem = str(refused)
    except Exception as error:
        problem = "%s: %s" % (type(error).__name__, error)
    try:
        version = importlib.metadata.version(engine)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    print(json.dumps({"problem": problem, "version": version}), file=out)


if __name__ == "__main__":
    main()
