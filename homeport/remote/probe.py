"""Ask a model server one real question, the way Claude Code would: one JSON object as the answer.

usage: probe.py JSON, with url, alias, context (tokens), question (null: do not ask), max_tokens,
timeout (seconds), token_path (a file, or null), ca_path (a file with the certificates that the
server's is signed by; may be left out) and proofs (the names of what the client needs that is to be
tried, as below; may be left out). Prints {"state": ..., "detail": ...}, with a state of
    refused     nothing listens there
    name        its host has no address here
    loading     the server is up, the model is not
    certificate its certificate is not trusted here (detail: why)
    token       the server takes another token
    alias       the server serves other names (detail: which)
    context     the server holds fewer tokens than the client is told (detail: how many)
    failed      anything else (detail: what)
    answered    and then, where it was asked, answer, tokens, seconds and tokens_per_second, and
                proofs: a list of [whether it works, what, detail]
"""

import json
import socket
import ssl
import sys
import time
import urllib.error
import urllib.request
from typing import Any

#: What conversations begin with that are to be found in a prefix cache.
SENTENCE = "The harbour has boats, cranes and gulls. "


class Found(Exception):
    """The state that was found."""


def request(ask: "dict[str, Any]", path: str, body: "dict[str, Any] | None" = None) -> Any:
    headers = {"Content-Type": "application/json", "anthropic-version": "2023-06-01"}
    if ask["token_path"]:
        with open(ask["token_path"]) as file:
            headers["Authorization"] = "Bearer " + file.read().strip()
    data = json.dumps(body).encode() if body else None
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ask.get("ca_path"))),
    )
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
        if isinstance(error.reason, socket.gaierror):
            raise Found("name", str(error.reason)) from None
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise Found("certificate", error.reason.verify_message) from None
        raise Found("failed", str(error.reason)) from None


def check_alias(ask: "dict[str, Any]") -> None:
    models = json.load(request(ask, "/v1/models"))["data"]
    served = {model["id"]: model for model in models}
    if ask["alias"] not in served:
        raise Found("alias", ", ".join(served))
    context = held(served[ask["alias"]])
    if context and context < ask["context"]:
        raise Found("context", context)


def held(model: "dict[str, Any]") -> Any:
    """The tokens that a model of /v1/models holds: vLLM's word for it, and llama.cpp's."""
    return model.get("max_model_len") or (model.get("meta") or {}).get("n_ctx")


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


TOOL = {
    "name": "get_weather",
    "description": "Tells the weather in a city.",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The city"}},
        "required": ["city"],
    },
}
WEATHER = {"role": "user", "content": "What is the weather in Paris? Use the tool get_weather."}


def message(ask: "dict[str, Any]", messages: "list[Any]", **more: Any) -> Any:
    body = {"model": ask["alias"], "max_tokens": ask["max_tokens"], "messages": messages}
    return json.load(request(ask, "/v1/messages", dict(body, **more)))


def text_of(answer: Any) -> str:
    found = "".join(block.get("text", "") for block in answer["content"]).strip()
    if not found:
        raise Found("failed", "the answer has no text, and ends by %s" % answer.get("stop_reason"))
    return found


def whole_context(ask: "dict[str, Any]") -> str:
    models = json.load(request(ask, "/v1/models"))["data"]
    context = next(held(one) for one in models if one["id"] == ask["alias"])
    if not context:
        return "it does not say"  # llama.cpp of 2025
    if context < ask["context"]:
        raise Found("failed", "%s tokens, and not %s" % (context, ask["context"]))
    return "%s tokens" % format(context, ",")


def plain(ask: "dict[str, Any]") -> str:
    return text_of(message(ask, [{"role": "user", "content": ask["question"]}]))[:80]


def counted(ask: "dict[str, Any]") -> str:
    body = {"model": ask["alias"], "messages": [{"role": "user", "content": ask["question"]}]}
    tokens = json.load(request(ask, "/v1/messages/count_tokens", body))["input_tokens"]
    if not tokens:
        raise Found("failed", "it counts none")
    return "%d tokens" % tokens


def tool_called(ask: "dict[str, Any]") -> str:
    answer = message(ask, [WEATHER], tools=[TOOL])
    calls = [block for block in answer["content"] if block["type"] == "tool_use"]
    if not calls:
        raise Found("failed", "it answers in words: the tool parser does not fit the model")
    if calls[0]["name"] != TOOL["name"] or "city" not in calls[0]["input"]:
        raise Found("failed", "it calls %s with %s" % (calls[0]["name"], calls[0]["input"]))
    result = {"type": "tool_result", "tool_use_id": calls[0]["id"], "content": "sunny, 21 C"}
    said = [{"role": "assistant", "content": calls[:1]}, {"role": "user", "content": [result]}]
    text_of(message(ask, [WEATHER, *said], tools=[TOOL]))
    return "%s(%s), and takes its result" % (TOOL["name"], json.dumps(calls[0]["input"]))


def with_late_system(question: str) -> "list[dict[str, str]]":
    """A conversation with a system message inside it, as the client has them since 2.1.154."""
    return [
        {"role": "user", "content": "Remember the word homeport."},
        {"role": "system", "content": "Answer in one short sentence."},
        {"role": "assistant", "content": "I will."},
        {"role": "user", "content": question},
    ]


def late_system(ask: "dict[str, Any]") -> str:
    text_of(message(ask, with_late_system(ask["question"])))
    return "inside a conversation"


def cached(ask: "dict[str, Any]") -> str:
    """The same long beginning twice; a new one each time, so that the first is not cached."""
    start = "Session %s. " % time.time() + SENTENCE * 100
    for _ in range(2):
        answer = message(ask, [{"role": "user", "content": start + ask["question"]}], max_tokens=1)
    usage = answer["usage"]
    hit = usage.get("cache_read_input_tokens") or 0
    if not hit:
        raise Found("failed", "none of %s tokens" % usage.get("input_tokens"))
    return "%d of %d tokens" % (hit, hit + (usage.get("input_tokens") or 0))


def proofs(ask: "dict[str, Any]") -> "list[list[Any]]":
    """What Claude Code needs of a server, tried one by one."""
    found = []
    for name, what, proof in (
        ("context", "holds its context", whole_context),
        ("answer", "answers", plain),
        ("count", "counts tokens", counted),
        ("tool", "calls a tool", tool_called),
        ("system", "takes a system message", late_system),
        ("cache", "reuses its prefix cache", cached),
    ):
        if name not in ask["proofs"]:
            continue
        try:
            found.append([True, what, proof(ask)])
        except Found as problem:
            found.append([False, what, problem.args[1]])
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            found.append([False, what, "%s: %s" % (type(error).__name__, error)])
    return found


def main() -> None:
    ask = json.loads(sys.argv[1])
    try:
        check_alias(ask)
        result: "dict[str, Any]" = question(ask) if ask["question"] else {"state": "answered"}
        if ask.get("proofs"):
            streamed = "%d tokens in %s s" % (result["tokens"], result["seconds"])
            result["proofs"] = [[True, "streams", streamed], *proofs(ask)]
    except Found as found:
        result = {"state": found.args[0], "detail": found.args[1]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        result = {"state": "failed", "detail": "%s: %s" % (type(error).__name__, error)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
