"""Ask a mirror of weights for the first bytes of a file: one JSON object as the answer.

usage: ask_mirror.py JSON, with url, seconds (for which it may be down) and file: null, which asks
only whether anything listens there, or {"place": the path at the mirror, "path": the file here,
"size": bytes, "token_path": a file, or null}. Prints {"state": ..., "detail": ...}, with a state of
    down        nothing listens there (detail: why)
    open        it serves without a token, and has one
    wrong       it does not serve that file as it is here (detail: what it does)
    answered
"""

import json
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

FIRST = 1024


class Found(Exception):
    """The state that was found."""


def request(ask: "dict[str, Any]", place: str, headers: "dict[str, str]") -> "tuple[int, Any]":
    """The status and the answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + ask["seconds"]
    while True:
        try:
            url = ask["url"] + place
            answer = opener.open(urllib.request.Request(url, headers=headers), timeout=5)  # noqa: S310
            return answer.status, answer
        except urllib.error.HTTPError as error:
            return error.code, error
        except OSError as error:
            if time.monotonic() > until:
                raise Found("down", str(getattr(error, "reason", error))) from None
        time.sleep(0.2)


def connect(ask: "dict[str, Any]") -> None:
    address = urllib.parse.urlsplit(ask["url"])
    until = time.monotonic() + ask["seconds"]
    while True:
        try:
            socket.create_connection((address.hostname, address.port), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise Found("down", str(error)) from None
        time.sleep(0.2)


def check(ask: "dict[str, Any]", file: "dict[str, Any]") -> None:
    headers = {"Range": "bytes=0-%d" % (FIRST - 1)} if file["size"] else {}
    if file["token_path"]:
        status, _ = request(ask, file["place"], headers)
        if status != 401:
            raise Found("open", status)
        with open(file["token_path"]) as token:
            headers["Authorization"] = "Bearer " + token.read().strip()
    status, answer = request(ask, file["place"], headers)
    if status not in (200, 206):
        raise Found("wrong", "it answers %d" % status)
    length = answer.headers.get("Content-Range", "").rpartition("/")[2] if file["size"] else "0"
    if length != str(file["size"]):
        raise Found("wrong", "it has %s bytes of %d" % (length or "no", file["size"]))
    with open(file["path"], "rb") as content:
        if answer.read(FIRST) != content.read(FIRST):
            raise Found("wrong", "its first bytes are others")


def main() -> None:
    ask = json.loads(sys.argv[1])
    try:
        if ask["file"]:
            check(ask, ask["file"])
        else:
            connect(ask)
        result = {"state": "answered", "detail": ""}
    except Found as found:
        result = {"state": found.args[0], "detail": str(found.args[1])}
    except (OSError, ValueError) as error:
        result = {"state": "wrong", "detail": "%s: %s" % (type(error).__name__, error)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
