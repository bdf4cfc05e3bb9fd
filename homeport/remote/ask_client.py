"""Ask the real Claude Code through a route's script, and print its answer as one line.

usage: ask_client.py SCRIPT CLAUDE DIRECTORY QUESTION SECONDS. The client gets a configuration
directory of its own under DIRECTORY, removed afterwards, so that it leaves no session behind.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile


def main() -> None:
    script, claude, directory, question, seconds = sys.argv[1:]
    folder = tempfile.mkdtemp(prefix="client.", dir=directory)
    environment = {
        **os.environ,
        "PATH": os.path.dirname(claude) + os.pathsep + os.environ.get("PATH", os.defpath),
        "CLAUDE_CONFIG_DIR": folder,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    try:
        process = subprocess.Popen(
            [script, "-p", question],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        out, err = process.communicate(timeout=float(seconds))
        answer = out if process.returncode == 0 else out + err
        prefix = "" if process.returncode == 0 else "did not answer: "
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        prefix, answer = "did not answer", " within %s s" % seconds
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(prefix + " ".join(answer.split())[-500:])


if __name__ == "__main__":
    main()
