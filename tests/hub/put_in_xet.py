"""Put files into a Xet store, a local folder, and print the hash of each."""

from __future__ import annotations

import importlib
import sys

if __name__ == "__main__":
    folder, *paths = sys.argv[1:]
    session = importlib.import_module("hf_xet").XetSession()
    with session.new_upload_commit(endpoint=f"local://{folder}") as commit:
        uploads = [commit.start_upload_file(path) for path in paths]
    for upload in uploads:
        print(upload.result().xet_info.hash)
