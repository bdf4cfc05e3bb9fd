#!/usr/bin/python3
"""A stand-in for nvidia-smi on a host without GPUs: it says what /etc/nvidia-smi.json tells it to.

It takes the queries that it knows, in the forms that it knows, and refuses all else as the real one
does, with status 2 or 6 and in its words. `--state FILE`, which the real one lacks, comes first and
names another file.
"""

import json
import sys
from pathlib import Path

FORMATS = ("csv,noheader", "csv,noheader,nounits")
REASONS = ("hw_thermal_slowdown", "sw_thermal_slowdown", "hw_power_brake_slowdown")

#: The fields of each query, and what a healthy GPU of a data centre says where nothing else is told
#: (`nvidia-smi --help-query-gpu` of driver 580: both names of the clocks' reasons).
FIELDS: "dict[str, dict[str, object]]" = {
    "gpu": {
        "index": None,
        "name": None,
        "memory.total": None,
        "driver_version": None,
        "fabric.state": "Completed",
        "fabric.status": "Success",
        "temperature.gpu": 40,
        "ecc.errors.uncorrected.volatile.total": 0,
        "retired_pages.pending": "No",
        **{f"clocks_throttle_reasons.{name}": "Not Active" for name in REASONS},
        **{f"clocks_event_reasons.{name}": "Not Active" for name in REASONS},
    },
    "remapped-rows": {
        "gpu_bus_id": "00000000:1B:00.0",
        "remapped_rows.pending": 0,
        "remapped_rows.failure": 0,
    },
    "compute-apps": {"pid": None, "process_name": None, "used_memory": None, "gpu_uuid": "GPU-0"},
}


def main(words: "list[str]") -> int:
    file = "/etc/nvidia-smi.json"
    if words[:1] == ["--state"]:
        file, words = words[1], words[2:]
    state = json.loads(Path(file).read_text())
    options = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    queries = [name for name in options if name.startswith("query-")]
    if len(queries) != 1 or set(options) != {*queries, "format"}:
        print(f"Invalid combination of input arguments: {words}")
        return 2
    what = queries[0].removeprefix("query-")
    fields = options[queries[0]].split(",")
    for field in fields:
        if field not in FIELDS.get(what, {}) or field in state.get("refuses", ()):
            print(f'Field "{field}" is not a valid field to query.')
            return 2
    if options["format"] not in FORMATS:
        print(f'Format option "{options["format"]}" is not recognized.')
        return 2
    if error := state.get("error"):
        print(error)
        return 15
    rows = state.get("processes", []) if what == "compute-apps" else state["gpus"]
    for index, row in enumerate(rows):
        found = {**FIELDS[what], "index": index, **row}
        units = "" if options["format"].endswith("nounits") else " MiB"
        print(", ".join(f"{found[f]}{units if 'memory' in f else ''}" for f in fields))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
