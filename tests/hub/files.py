"""The answer to a request for a file, right or spoiled."""

from __future__ import annotations

import re

from .faults import Fault, Faults, Flip, Html, IgnoreRange, Status, Truncate, WrongEtag, WrongRange
from .messages import Request, Response
from .repos import File

_PORTAL = b"<!DOCTYPE html><html><head><title>Wi-Fi</title></head><body>Please log in</body></html>"


def spoiled(fault: Fault | None) -> Response | None:
    """The answer that `fault` puts in the place of the right one."""
    match fault:
        case Status(code, headers, body):
            return Response(code, dict(headers), body)
        case Html():
            return Response(200, {"Content-Type": "text/html; charset=utf-8"}, _PORTAL)
    return None


def answer_file(
    request: Request, file: File, headers: dict[str, str], faults: Faults, location: str | None
) -> Response | None:
    """The file, or a redirect to `location`; None if there is no such kind of range."""
    span = (0, file.size)
    if request.range is not None and location is None:
        found = re.fullmatch("bytes=([0-9]+)-([0-9]*)", request.range)
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            return None
        span = (int(found[1]), min(int(found[2] or file.size) + 1, file.size))

    def fits(fault: Fault) -> bool:
        match fault:
            case Status() | Html() | WrongEtag():
                return True
            case IgnoreRange() | WrongRange():
                return request.range is not None and location is None
            case Flip(offset):
                return location is None and span[0] <= offset < span[1]
        return location is None

    cleared = faults.cleared
    fault = faults.take(request.method, request.host, str(request.file), fits)
    if (other := spoiled(fault)) is not None:
        return other
    etag = fault.etag if isinstance(fault, WrongEtag) else file.etag
    if location is not None:
        headers |= {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{etag}"'}
        headers |= {"Location": location, "Content-Type": "text/plain; charset=utf-8"}
        return Response(302, headers, f"Found. Redirecting to {location}".encode())
    headers |= {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
    headers |= {"Content-Type": "application/octet-stream"}
    whole = isinstance(fault, Truncate) and fault.from_the_start
    if request.range is None or whole or isinstance(fault, IgnoreRange):
        response = Response(200, headers, file.path, 0, file.size)
    elif span[0] >= file.size:
        headers |= {"Content-Range": f"bytes */{file.size}", "Content-Type": "text/plain"}
        return Response(416, headers, b"Range Not Satisfiable")
    else:
        start, end = _others(*span, file.size) if isinstance(fault, WrongRange) else span
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        response = Response(206, headers, file.path, start, end)
    response.spoil(fault, cleared)
    return response


def _others(start: int, end: int, size: int) -> tuple[int, int]:
    """As many other bytes, or nearly so."""
    return (0, end - start) if start else (1, min(end + 1, size))
