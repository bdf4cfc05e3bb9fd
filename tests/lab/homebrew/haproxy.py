#!/usr/bin/python3 -IS
"""HAProxy as the lab's Homebrew has it: it takes the words that a router is started with and no
others, and answers for the models in its configuration whoever has the token. It routes nothing.
"""

from __future__ import annotations

import os
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def main() -> None:
    if sys.argv[1:] == ["-v"]:
        print("HAProxy version 3.2.4-98813a1 2025/08/13 - https://haproxy.org/")
        return
    if [*sys.argv[1:3], *sys.argv[4:]] != ["-db", "-C", "-f", "router.cfg"]:
        sys.exit(f"[ALERT] config : unknown words: {sys.argv[1:]}")
    os.chdir(sys.argv[3])
    text = Path("router.cfg").read_text()
    bound = re.search(r"^    bind (\S+):(\d+)$", text, re.MULTILINE)
    models = re.search(r"string '(\{\"data\".*\})' if \{ path /v1/models \}", text)
    if not bound or not models:
        sys.exit("[ALERT] config : nothing to bind, or no models")
    token = Path("router.token").read_text().strip()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            proven = self.headers.get("Authorization") == f"Bearer {token}"
            self.send_response(200 if proven else 401)
            self.end_headers()
            self.wfile.write(models[1].encode() if models and proven else b"{}")

    ThreadingHTTPServer((bound[1], int(bound[2])), Handler).serve_forever()


main()
