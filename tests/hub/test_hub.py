"""The Hub is one to the real huggingface_hub, and its faults are what they say they are."""

from __future__ import annotations

import hashlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from homeport import ROOT

from ..running import wait_until
from . import (
    Fault,
    Flip,
    Html,
    Hub,
    IgnoreRange,
    Reset,
    Sparse,
    Stall,
    Status,
    Trickle,
    Truncate,
    WrongEtag,
    WrongRange,
)

WEIGHTS = bytes(range(256)) * 4096
FILES = {
    "config.json": b"{}",
    "model.safetensors": WEIGHTS,
    "sub folder/ä?%.txt": b"text",
    "sub folder/deep/empty": b"",
}
GUARD = Path(__file__).parent / "guard"

Client = Callable[..., str]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub(page_size=3, cdn=True) as hub:
        hub.commit("owner/name", FILES)
        yield hub
        assert not hub.leaks
        assert not hub.unexpected


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    """client("expression"): what huggingface_hub makes of it, or the name of its exception."""

    def run(expression: str, **environment: str) -> str:
        script = (
            "import huggingface_hub as hf\n"
            f"try: print({expression})\n"
            "except Exception as error: print(type(error).__name__, error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={
                "HF_HUB_DISABLE_TELEMETRY": "1",
                "HF_HUB_DISABLE_UPDATE_CHECK": "1",
                "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
                "HF_ENDPOINT": hub.url,
                "HF_HOME": str(tmp_path / "hf"),
                "HOME": str(tmp_path),
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(GUARD),
                **environment,
            },
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=400,
        )
        return done.stdout.strip()

    return run


def get(
    hub: Hub, path: str, method: str = "GET", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """The answer, from the CDN if that is where it leads."""
    url = urlsplit(hub.url + path)
    while True:
        target = f"{url.path}?{url.query}" if url.query else url.path
        connection = http.client.HTTPConnection(url.netloc, timeout=20)
        connection.request(method, target, None, headers)
        response = connection.getresponse()
        try:
            body = response.read()
        finally:
            connection.close()
        if response.status != 302:
            return response.status, response.headers, body
        url = urlsplit(response.headers["Location"])


FILE = "/owner/name/resolve/main/model.safetensors"


def test_a_snapshot_is_what_was_committed(hub: Hub, client: Client) -> None:
    commit = hub.commit("owner/name", FILES)
    folder = Path(client("hf.snapshot_download('owner/name')"))
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert (folder.name, found) == (commit, FILES)
    listings = [request for request in hub.requests if "/tree/" in request.path]
    assert len(listings) == 2, "four files in two folders, three to a page"
    assert hub.bytes_sent("model.safetensors") == len(WEIGHTS)
    assert [r.host for r in hub.requests if r.file == "model.safetensors"] == ["hub", "cdn"]


def test_the_listing_has_the_hashes(hub: Hub, client: Client) -> None:
    listed = client(
        "{f.path: (f.size, f.lfs and f.lfs.sha256, f.blob_id) for f in"
        " hf.HfApi().list_repo_tree('owner/name', recursive=True) if hasattr(f, 'blob_id')}"
    )
    pinned = hub.files("owner/name")
    assert listed == str({p: (f.size, f.sha256, f.git_sha1) for p, f in sorted(pinned.items())})
    assert pinned["model.safetensors"].sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    git = subprocess.run(["git", "hash-object", "--stdin"], input=b"{}", capture_output=True)
    assert pinned["config.json"].git_sha1 == git.stdout.decode().strip()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("hf.snapshot_download('owner/other')", "RepositoryNotFoundError 401"),
        ("hf.snapshot_download('owner/other', token='hf_good')", "RepositoryNotFoundError 404"),
        ("hf.snapshot_download('owner/name', revision='v9')", "RevisionNotFoundError 404"),
        ("hf.hf_hub_download('owner/name', 'nothing')", "RemoteEntryNotFoundError 404"),
        ("hf.snapshot_download('owner/gated')", "GatedRepoError 401"),
        ("hf.snapshot_download('owner/gated', token='hf_good')", "GatedRepoError 403"),
        ("hf.snapshot_download('owner/name', token='hf_bad')", "HfHubHTTPError Client error '401"),
        ("hf.model_info('owner/private')", "RepositoryNotFoundError 401"),
        ("hf.model_info('owner/private', token='hf_good').gated", "False"),
        ("hf.model_info('owner/gated').gated", "manual"),
        ("hf.hf_hub_download('owner/gated', 'a.bin', token='hf_in')[-5:]", "a.bin"),
    ],
)
def test_who_may_see_what(hub: Hub, client: Client, call: str, error: str) -> None:
    hub.commit("owner/gated", {"a.bin": b"1"}, gated=True)
    hub.commit("owner/private", {"a": b"1"})
    hub.require_token("owner/private")
    hub.add_token("hf_good")
    hub.add_token("hf_in", may_see=("owner/gated",))
    assert client(call).startswith(error)


def test_earlier_commits_stay(hub: Hub) -> None:
    first = hub.commit("owner/two", {"a": b"1"})
    second = hub.commit("owner/two", {"a": b"2"})
    assert get(hub, f"/owner/two/resolve/{first}/a")[2] == b"1"
    status, headers, body = get(hub, "/owner/two/resolve/main/a")
    assert (status, headers["X-Repo-Commit"], body) == (200, second, b"2")


def test_ranges(hub: Hub) -> None:
    status, headers, body = get(hub, FILE, Range="bytes=1000-")
    assert (status, body) == (206, WEIGHTS[1000:])
    assert headers["Content-Range"] == f"bytes 1000-{len(WEIGHTS) - 1}/{len(WEIGHTS)}"
    assert get(hub, FILE, Range="bytes=5-9")[2] == WEIGHTS[5:10]
    status, headers, _ = get(hub, FILE, Range=f"bytes={len(WEIGHTS)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(WEIGHTS)}")


def test_the_client_resumes_after_an_early_end_and_not_after_a_reset(
    hub: Hub, client: Client
) -> None:
    hub.commit("owner/name", {"big.gguf": Sparse(25_000_000)})
    download = "hf.hf_hub_download('owner/name', 'big.gguf')"
    hub.fault("big.gguf", Truncate(after=15_000_000))
    assert client(download).endswith("/big.gguf")
    assert hub.requests[-1].range == f"bytes={10 * 2**20}-", "it writes 10 MiB at a time"
    hub.fault("big.gguf", Reset(after=15_000_000))
    assert client(download.replace(")", ", force_download=True)")).startswith("ReadError")


def test_xet(hub: Hub, client: Client) -> None:
    hub.offer_xet("owner/name")
    path = client("hf.hf_hub_download('owner/name', 'model.safetensors')")
    assert Path(path).read_bytes() == WEIGHTS
    assert hub.bytes_sent("model.safetensors") == 0
    hub.break_xet("content")
    download = "hf.hf_hub_download('owner/name', 'model.safetensors', force_download=True)"
    assert client(download).startswith("RuntimeError")
    assert client(download, HF_HUB_DISABLE_XET="1") == path


@pytest.mark.parametrize("fault", [Status(429, {"Retry-After": "1"}, b"slow down"), Html()])
def test_another_answer(hub: Hub, fault: Fault) -> None:
    hub.fault("*.safetensors", fault, host="cdn")
    status, headers, body = get(hub, FILE)
    if isinstance(fault, Status):
        assert (status, headers["Retry-After"], body) == (429, "1", b"slow down")
    else:
        assert (status, headers.get_content_type(), "ETag" in headers) == (200, "text/html", False)
    assert get(hub, FILE)[2] == WEIGHTS


def test_faults_of_the_body(hub: Hub) -> None:
    hub.fault("*", Reset(after=1000))
    with pytest.raises(ConnectionResetError):
        get(hub, FILE)
    assert hub.requests[-1].bytes_sent == 1000
    hub.fault("*", Truncate(after=1000))
    with pytest.raises(http.client.IncompleteRead):
        get(hub, FILE)
    hub.fault("*", Flip(offset=77))
    wrong = get(hub, FILE)[2]
    assert [at for at, byte in enumerate(wrong) if byte != WEIGHTS[at]] == [77]
    for slow in (Stall(10, 0.5), Trickle(len(WEIGHTS) - 1000, 2000)):
        hub.fault("*", slow)
        started = time.monotonic()
        assert get(hub, FILE)[2] == WEIGHTS
        assert time.monotonic() - started > 0.4
    hub.fault("*", WrongEtag("0" * 64), host="cdn")
    assert get(hub, FILE)[1]["ETag"] == f'"{"0" * 64}"'


@pytest.mark.parametrize("fault", [Stall(10, 600), Trickle(10, 10)])
def test_faults_that_are_cleared_end_at_once(hub: Hub, fault: Fault) -> None:
    hub.fault("*", fault, host="cdn")
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(get(hub, FILE)[2]))
    thread.start()
    wait_until(lambda: hub.bytes_sent("*.safetensors") >= 10)
    hub.faults.clear()
    thread.join()
    assert answers == [WEIGHTS]


def test_faults_of_ranges(hub: Hub) -> None:
    hub.fault("*", IgnoreRange())
    hub.fault("*", WrongRange())
    assert get(hub, FILE)[0] == 200
    status, _, body = get(hub, FILE, Range="bytes=5-9")
    assert (status, body) == (200, WEIGHTS)
    status, headers, body = get(hub, FILE, Range="bytes=5-9")
    assert (status, headers["Content-Range"]) == (206, f"bytes 0-4/{len(WEIGHTS)}")
    assert body == WEIGHTS[:5]


def test_a_fault_of_the_api(hub: Hub) -> None:
    hub.fault("/api/*/tree/*", Status(503))
    assert get(hub, "/api/models/owner/name/tree/main")[0] == 503
    assert get(hub, "/api/models/owner/name/tree/main")[0] == 200


def test_the_cdn_takes_signatures_and_no_tokens(hub: Hub) -> None:
    hub.add_token("hf_good")
    status, _, _ = get(hub, FILE, Authorization="Bearer hf_good")
    assert status == 400
    assert [leak.authorization for leak in hub.leaks] == ["Bearer hf_good"]
    hub.leaks.clear()
    url = urlsplit(hub.url)
    connection = http.client.HTTPConnection(url.netloc)
    connection.request("HEAD", FILE)
    redirect = connection.getresponse()
    assert redirect.headers["X-Linked-Etag"] == f'"{hashlib.sha256(WEIGHTS).hexdigest()}"'
    redirect.read()
    place = urlsplit(redirect.headers["Location"])
    assert place.hostname == "127.0.0.2"
    for expected in (200, 403):
        other = http.client.HTTPConnection(place.netloc)
        other.request("HEAD", f"{place.path}?{place.query}")
        assert other.getresponse().status == expected
        other.close()
        hub.expire_signatures()
    connection.request("GET", "/owner/name/resolve/main/config.json")
    assert connection.getresponse().read() == b"{}", "on a connection that was kept"
    connection.close()


def test_a_restart(hub: Hub) -> None:
    url = urlsplit(hub.url)
    kept = socket.create_connection((str(url.hostname), url.port or 0))
    hub.fault("*", Stall(10, 60))
    started = time.monotonic()
    failed: list[BaseException] = []

    def download() -> None:
        try:
            get(hub, FILE)
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=download)
    thread.start()
    wait_until(lambda: hub.bytes_sent("*.safetensors") == 10)
    hub.stop_listening()
    thread.join()
    assert time.monotonic() - started < 50, "the stall is longer"
    assert isinstance(failed[0], ConnectionResetError)
    with pytest.raises(ConnectionResetError):
        kept.recv(1)
    kept.close()
    with pytest.raises(ConnectionRefusedError):
        get(hub, FILE)
    hub.listen_again()
    assert get(hub, FILE)[2] == WEIGHTS


def test_what_no_client_asks_for_is_kept(hub: Hub) -> None:
    for path in ("/api/whoami-v2", "/api/models/owner/name?blobs=true"):
        assert get(hub, path)[0] == 404
    assert get(hub, "/api/models/owner/name", "DELETE")[0] == 404
    assert get(hub, FILE, Range="bytes=-5")[0] == 404
    assert len(hub.unexpected) == 4
    hub.unexpected.clear()


def test_nothing_is_left() -> None:
    before = threading.active_count()
    with Hub(cdn=True) as hub:
        hub.commit("a/b", {"big.gguf": Sparse(2**25, {2**25 - 2: b"ok"})})
        assert get(hub, "/a/b/resolve/main/big.gguf", Range="bytes=33554429-")[2] == b"\0ok"
        client = socket.create_connection((urlsplit(hub.url).hostname, urlsplit(hub.url).port))
        client.send(b"GET /a/b")
        url = hub.url
    client.close()
    wait_until(lambda: threading.active_count() <= before)  # the last ones are about to end
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((urlsplit(url).hostname, urlsplit(url).port))


def test_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file").write_text("content")
    command = [sys.executable, "-m", "tests.hub", "--listen", "127.0.0.1:0", f"a/b={tmp_path}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    url = urlsplit(process.stdout.readline().strip())
    connection = http.client.HTTPConnection(url.netloc)
    connection.request("GET", "/a/b/resolve/main/sub/file")
    assert connection.getresponse().read() == b"content"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    process.stdout.close()
    connection.close()


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        ("socket.create_connection(('huggingface.co', 443), 5)", False),
        ("socket.getaddrinfo('huggingface.co', 443)", False),
        ("socket.socket().connect(('192.0.2.1', 9))", False),
        ("socket.socket().connect_ex(('192.0.2.1', 9))", False),
        ("socket.socket(socket.AF_INET6).connect(('2001:db8::1', 9))", False),
        ("socket.getaddrinfo('localhost', 1)", True),
        ("socket.getaddrinfo('10.1.2.3', 1)", True),
        ("socket.socket().connect_ex(('127.0.0.2', 1))", True),
        ("socket.socket(socket.AF_UNIX).connect_ex('/nothing')", True),
    ],
)
def test_the_guard(call: str, allowed: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import socket; {call}"],
        env={"PYTHONPATH": str(GUARD), "HOMEPORT_TEST_ALLOW": "10.9.9.9,10.1.2.3"},
        capture_output=True,
        text=True,
    )
    assert ("the test guard allows loopback only" in done.stderr) is not allowed
    assert (done.returncode == 0) is allowed
