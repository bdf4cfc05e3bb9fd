"""This machine with the embedded default, for `make try`: a small model from a Python package.

Beside a real deployment only the port can clash; `make try TRY_PORT=18081` moves it.
"""

import os

_port = os.environ.get("TRY_PORT") or "18080"

laptops = [
    (
        "@local",
        {
            "routes": {
                "claude-fable5": {
                    "model": "smollm2-135m",
                    "host": "localhost",
                    "port": int(_port) if _port.isdigit() else _port,
                }
            },
            "homeport_dir": "~/.homeport-try",
            "engine": "xllamacpp",
            "show_answer": True,
        },
    )
]

workstations = ["@local"]
