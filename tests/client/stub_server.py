"""A server that answers one fixed text as an Anthropic stream, and logs each request as JSON.

usage: stub_server.py PORT ALIAS LOG [CALLS [STATUS [CERTIFICATE]]]. CALLS is a file with a list of
tool calls, such as {"name": "Bash", "input": {...}}, which are made before the text, one a turn.
With a STATUS other than 200 it answers everything with that, as a server that loads; with 404 what
asks for another model than its own, as vLLM does. With a
CERTIFICATE, and its key in the same file, it speaks TLS. `X-Stub-Pause: 0.5` has it wait for half a
second before each event. Strict: a path that no server of ours has is logged and 404. It prints a
line once it answers.
"""

from __future__ import annotations

import json
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ALIAS, LOG = sys.argv[2], Path(sys.argv[3])
CALLS: list[dict[str, Any]] = json.loads(Path(sys.argv[4]).read_text()) if sys.argv[4:] else []
STATUS = int(sys.argv[5]) if sys.argv[5:] else 200


def next_block(body: dict[str, Any]) -> dict[str, Any]:
    """The next call of the script, or the text, to a conversation that has had some."""
    content = [one for message in body["messages"] for one in message["content"]]
    had = sum(isinstance(one, dict) and one["type"] == "tool_result" for one in content)
    if body.get("tools") and had < len(CALLS):
        return {"type": "tool_use", "id": f"toolu_{had}", **CALLS[had]}
    return {"type": "text", "text": "stub says hello"}


def events(model: str, block: dict[str, Any]) -> list[dict[str, Any]]:
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "usage": {"input_tokens": 10, "output_tokens": 1},
    }
    calls = block["type"] == "tool_use"
    delta = (
        {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        if calls
        else {"type": "text_delta", "text": block["text"]}
    )
    start = {**block, "input": {}} if calls else {**block, "text": ""}
    return [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": start},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use" if calls else "end_turn"},
            "usage": {"output_tokens": 4},
        },
        {"type": "message_stop"},
    ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.log(None)
        known = self.path.split("?")[0] == "/v1/models"
        status = 200 if STATUS == 404 else STATUS
        self.answer(status if known else 404, json.dumps({"data": [{"id": ALIAS}]}))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        body = json.loads(raw)
        self.log(body, raw.decode())
        path = self.path.split("?")[0]
        if path == "/v1/messages/count_tokens":
            self.answer(200, '{"input_tokens": 10}')
        elif path == "/v1/messages" and STATUS == 404 and body["model"] != ALIAS:
            said = f"The model `{body['model']}` does not exist."
            self.answer(404, json.dumps({"type": "error", "error": {"message": said}}))
        elif path == "/v1/messages" and STATUS not in (200, 404):
            self.answer(STATUS, json.dumps({"error": {"message": "Loading model"}}))
        elif path == "/v1/messages":
            self.stream(events(ALIAS, next_block(body)))
        else:
            self.answer(404, "{}")

    def stream(self, found: list[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in found:
            time.sleep(float(self.headers.get("X-Stub-Pause", 0)))
            text = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, status: int, text: str, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())

    def log(self, body: Any, raw: str = "") -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        entry = {"path": self.path, "headers": headers, "body": body, "raw": raw}
        with LOG.open("ab", buffering=0) as file:  # a line at once: others write and read, too
            file.write(json.dumps(entry).encode() + b"\n")

    def log_message(self, *arguments: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    if sys.argv[6:]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[6])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print("it answers", flush=True)
    server.serve_forever()
