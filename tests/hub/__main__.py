"""A Hub of folders in a process of its own: prints its URL when it is ready, ends on SIGTERM."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path

from .server import Hub


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hub", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="ADDRESS[:PORT]")
    parser.add_argument("--page-size", type=int, default=1000)
    parser.add_argument("--cdn", action="store_true")
    parser.add_argument("repos", nargs="+", metavar="REPO=FOLDER")
    said = parser.parse_args()
    # Before any thread is started: they inherit it.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with Hub(said.listen, said.page_size, said.cdn) as hub:
        for word in said.repos:
            repo, _, folder = word.partition("=")
            root = Path(folder)
            files = [path for path in sorted(root.rglob("*")) if path.is_file()]
            hub.commit(repo, {path.relative_to(root).as_posix(): path for path in files})
        print(hub.url, flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
