"""The routes that lab tests deploy, and what becomes of them."""

from __future__ import annotations

from typing import Any

#: A real model, small enough for a lab host, served by the laptop itself.
SMALL: dict[str, Any] = {
    "claude-fable5": {"model": "smollm2-135m", "host": "localhost", "port": 18080}
}

#: A model that another host would serve.
CLUSTER: dict[str, Any] = {"claude-glm": {"model": "glm-5.2-fp8", "host": "glm-host", "port": 8000}}

#: The unit that serves SMALL for anna, and its file.
UNIT = "homeport.claude-fable5.service"
UNIT_FILE = f"/home/anna/.config/systemd/user/{UNIT}"
