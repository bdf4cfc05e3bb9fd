#!/usr/bin/python3
"""A stand-in for nvidia-smi on a host without GPUs: it says what /etc/nvidia-smi.json tells it to.

It takes the queries that it knows, in the forms that it knows, and refuses all else as the real one
does, with status 2 or 6 and in its words.
"""

import json
import sys
from pathlib import Path

FORMATS = ("csv,noheader", "csv,noheader,nounits")
FIELDS = {
    "gpu": ("index", "name", "memory.total", "driver_version", "fabric.state", "fabric.status"),
    "compute-apps": ("pid", "process_name", "used_memory"),
}


def main() -> int:
    state = json.loads(Path("/etc/nvidia-smi.json").read_text())
    options = dict(word.removeprefix("--").partition("=")[::2] for word in sys.argv[1:])
    queries = [name for name in options if name.startswith("query-")]
    if len(queries) != 1 or set(options) != {*queries, "format"}:
        print(f"Invalid combination of input arguments: {sys.argv[1:]}")
        return 2
    what = queries[0].removeprefix("query-")
    fields = options[queries[0]].split(",")
    for field in fields:
        if what not in FIELDS or field not in FIELDS[what]:
            print(f'Field "{field}" is not a valid field to query.')
            return 2
    if options["format"] not in FORMATS:
        print(f'Format option "{options["format"]}" is not recognized.')
        return 2
    if error := state.get("error"):
        print(error)
        return 15
    rows = state["gpus"] if what == "gpu" else state.get("processes", [])
    for index, row in enumerate(rows):
        found = {"index": index, **row}
        units = "" if options["format"].endswith("nounits") else " MiB"
        print(", ".join(f"{found[f]}{units if 'memory' in f else ''}" for f in fields))
    return 0


if __name__ == "__main__":
    sys.exit(main())
