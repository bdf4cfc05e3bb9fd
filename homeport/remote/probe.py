"""Ask a model server one real question, the way Claude Code would: one JSON object as the answer.

usage: probe.py JSON, with url, alias, context (tokens), question (null: do not ask), max_tokens,
timeout (seconds) and token_path (a file, or null). Prints {"state": ..., "detail": ...}, with a
state of
    refused     nothing listens there
    loading     the server is up, the model is not
    token       the server takes another token
    alias       the server serves other names (detail: which)
    context     the server holds fewer tokens than the client is told (detail: how many)
    failed      anything else (detail: what)
    answered    and then, where it was asked, answer, tokens, seconds and tokens_per_second
"""

import json
import sys
import time
import urllib.error
import urllib.request
from typing import Any


class Found(Exception):
    """The state that was found."""


def request(ask: "dict[str, Any]", path: str, body: "dict[str, Any] | None" = None) -> Any:
    headers = {"Content-Type": "application/json", "anthropic-version": "2023-06-01"}
    if ask["token_path"]:
        with open(ask["token_path"]) as file:
            headers["Authorization"] = "Bearer " + file.read().strip()
    data = json.dumps(body).encode() if body else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(
            urllib.request.Request(ask["url"] + path, data, headers),  # noqa: S310 - our own url
            timeout=ask["timeout"],
        )
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")[:500]
        if error.code == 503:
            raise Found("loading", text) from None
        if error.code in (401, 403):
            raise Found("token", text) from None
        raise Found("failed", "%s answers %d: %s" % (path, error.code, text)) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError):
            raise Found("refused", str(error.reason)) from None
        raise Found("failed", str(error.reason)) from None


def check_alias(ask: "dict[str, Any]") -> None:
    models = json.load(request(ask, "/v1/models"))["data"]
    served = {model["id"]: model for model in models}
    if ask["alias"] not in served:
        raise Found("alias", ", ".join(served))
    model = served[ask["alias"]]
    context = model.get("max_model_len") or (model.get("meta") or {}).get("n_ctx")
    if context and context < ask["context"]:
        raise Found("context", context)


def question(ask: "dict[str, Any]") -> "dict[str, Any]":
    """Stream one answer; the rate counts from the first token to the last."""
    body = {
        "model": ask["alias"],
        "max_tokens": ask["max_tokens"],
        "stream": True,
        "messages": [{"role": "user", "content": ask["question"]}],
    }
    start = time.monotonic()
    text: "list[str]" = []
    tokens, first = 0, None
    for line in request(ask, "/v1/messages", body):
        if not line.startswith(b"data:"):
            continue
        event = json.loads(line[5:])
        if event["type"] == "error":
            raise Found("failed", event["error"].get("message"))
        if event["type"] == "content_block_delta":
            first = first or time.monotonic()
            text.append(event["delta"].get("text", ""))
        if event["type"] == "message_delta":
            tokens = event.get("usage", {}).get("output_tokens", 0)
    end = time.monotonic()
    if first is None or not tokens:
        raise Found("failed", "the answer is empty")
    rate = (tokens - 1) / (end - first) if tokens > 1 and end > first else 0
    return {
        "state": "answered",
        "answer": "".join(text).strip(),
        "tokens": tokens,
        "seconds": round(end - start, 2),
        "tokens_per_second": round(rate, 1),
    }


def main() -> None:
    ask = json.loads(sys.argv[1])
    try:
        check_alias(ask)
        result = question(ask) if ask["question"] else {"state": "answered"}
    except Found as found:
        result = {"state": found.args[0], "detail": found.args[1]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        result = {"state": "failed", "detail": "%s: %s" % (type(error).__name__, error)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
