"""This machine with the embedded default, for `make try`: a small model from a Python package.

It has a directory of its own, and refuses a home that has a real deployment. Where the port is
taken: `make try TRY_PORT=18081`.
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
            "quant": None,
            "on_battery": True,
            "chat_template": None,
            "claude_code": None,
            "show_answer": True,
        },
    )
]

workstations = ["@local"]
