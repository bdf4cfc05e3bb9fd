"""pull.py beside `hf download`, from a Hub on loopback, in one run: python -m benchmarks.pull"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .processes import PART, PULL, Client, Cost, Hub, hub_of, make_files, measured

PULLER = Client("pull.py")
CLIENTS = [PULLER, *(Client(f"hf download, {n} workers", n) for n in (4, 8))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pull", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="200 MB, one round: does it work?")
    parser.add_argument("--folder", type=Path, help="where to work, on the disk to be measured")
    parser.add_argument("--rounds", type=int)
    said = parser.parse_args()
    size, rounds = (200_000_000, 1) if said.quick else (2_400_000_000, 3)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=said.folder) as folder:
        work = Path(folder)
        make_files(work / "source", 24, size)
        with hub_of(work / "source") as hub:
            throughput(hub, work, said.rounds or rounds)
            interrupted(hub, work, random.Random(1))
        make_files(work / "many", 150, 15_000_000)
        with hub_of(work / "many") as hub:
            rerun(hub, work)


def throughput(hub: Hub, work: Path, rounds: int) -> None:
    size = sum(hub.files.values())
    costs: dict[Client, list[Cost]] = {client: [] for client in CLIENTS}
    for number in range(rounds):
        order = CLIENTS[number % len(CLIENTS) :] + CLIENTS[: number % len(CLIENTS)]
        for client in order:
            costs[client].append(once(client, hub, work))
    print(f"{size / 1e9:.2f} GB in {len(hub.files)} files, {rounds} rounds, the median of each")
    print(f"{'':24}{'MB/s':>8}{'CPU s/GB':>10}{'MB RSS':>8}   MB/s of each round")
    median: dict[Client, float] = {}
    for client, each in costs.items():
        rates = [size / 1e6 / cost.seconds for cost in each]
        median[client] = statistics.median(rates)
        cpu = statistics.median(cost.cpu for cost in each) / (size / 1e9)
        memory = max(cost.memory_mb for cost in each)
        listed = " ".join(f"{rate:.0f}" for rate in rates)
        print(f"{client.name:24}{median[client]:8.0f}{cpu:10.2f}{memory:8.0f}   {listed}")
    best = max(rate for client, rate in median.items() if client is not PULLER)
    print(f"ratio to the better of the others: {median[PULLER] / best:.2f}", flush=True)


def once(client: Client, hub: Hub, work: Path) -> Cost:
    """Fetch everything into a new folder, on a disk that is at rest."""
    folder, home = work / "there", work / "home"
    home.mkdir()
    command = client.command(hub, folder)
    os.sync()
    cost = measured(command, client.environment(hub, home))
    if client is PULLER:
        check(hub, folder / "current")
    shutil.rmtree(folder)
    shutil.rmtree(home)
    return cost


def check(hub: Hub, folder: Path) -> None:
    for path, spec in hub.pins().items():
        with (folder / path).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != spec["sha256"]:
                raise SystemExit(f"{folder / path} is wrong")


def sent_by(pid: int) -> int:
    """Bytes that a process has read from files: those that our Hub has sent."""
    text = Path(f"/proc/{pid}/io").read_text()
    return int(text.split("rchar:")[1].split()[0])


def interrupted(hub: Hub, work: Path, chance: random.Random) -> None:
    """Kill a pull at a random moment and let another end it: what is fetched twice, and left."""
    size = sum(hub.files.values())
    print("\nkilled at a random moment, and run again")
    for client in (PULLER, CLIENTS[-1]):
        folder, home = work / "there", work / "home"
        home.mkdir()
        command, environment = client.command(hub, folder), client.environment(hub, home)
        before = sent_by(hub.pid)
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        goal = chance.uniform(0.3, 0.7) * size
        while sent_by(hub.pid) - before < goal and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        process.wait()
        os.sync()
        measured(command, environment)
        again = sent_by(hub.pid) - before - size
        rest = [*folder.rglob(f"*{PART}"), *folder.rglob("*.incomplete")]
        orphans = sum(path.stat().st_size for path in rest)
        print(
            f"{client.name:24}{again / 1e6:8.1f} MB fetched again, "
            f"{len(rest)} files of {orphans / 1e6:.1f} MB left over",
            flush=True,
        )
        shutil.rmtree(folder)
        shutil.rmtree(home)


def rerun(hub: Hub, work: Path) -> None:
    """What it costs to find that there is nothing to do."""
    folder, home = work / "there", work / "home"
    home.mkdir()
    command, environment = PULLER.command(hub, folder), PULLER.environment(hub, home)
    measured(command, environment)
    print(f"\n{len(hub.files)} files that are there already")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        elsewhere = f"http://127.0.0.1:{listener.getsockname()[1]}"
        desired = folder.with_name(f"{folder.name}.json")
        desired.write_text(desired.read_text().replace(hub.url, elsewhere))
        again = min(measured(command, environment).seconds for _ in range(5))
        listener.settimeout(0)
        asked = connections(listener)
    print(f"{'pull.py pull':32}{again:8.3f} s, {asked} requests")
    for python in filter(None, (sys.executable, shutil.which("python3", path=os.defpath))):
        words = [python, str(PULL), "status", str(folder)]
        best = min(measured(words, environment).seconds for _ in range(5))
        version = subprocess.run([python, "--version"], capture_output=True, text=True).stdout
        print(f"{'pull.py status, ' + version.strip():32}{best:8.3f} s", flush=True)


def connections(listener: socket.socket) -> int:
    """How many wait to be accepted; nobody answers them, so none can have gone."""
    count = 0
    while True:
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return count
        client.close()
        count += 1


if __name__ == "__main__":
    main()
