"""`make lab`: hosts to play with, until Ctrl-C. Names that start with "mac" are Macs."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from . import lab as labs
from .routes import SMALL


def main(names: list[str]) -> None:
    if obstacle := labs.obstacle():
        sys.exit(f"homeport: {obstacle}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with labs.opened() as lab:
        hosts = [lab.mac(name) if name.startswith("mac") else lab.host(name) for name in names]
        inventory = lab.inventory({"laptops": hosts, "workstations": hosts}, routes=SMALL)
        enter = " ".join(lab.network.words())
        print("log in as anna (sudo: open-sesame), ops (sudo without a password) or root:")
        for host in hosts:
            print(f"  {' '.join(lab.ssh(host, 'anna'))}")
        print("deploy to them, from this folder:")
        pyinfra = Path(sys.executable).parent / "pyinfra"
        print(f"  {enter} {pyinfra} {inventory} deploy.py")
        print("pull out a cable, and plug it in again:")
        for host in hosts:
            print(f"  ip -n {lab.network.name} link set v{host.number} down    # {host.name}")
        print("Ctrl-C takes them away.", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main(sys.argv[1:])
