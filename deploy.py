"""Make each host what its groups say: pyinfra inventory/prod.py deploy.py

A host is looked at first. Where something stands in the way it is named, and nothing is changed.
"""

from pyinfra import host

from homeport.roles import gpu_host, laptop, turn, workstation
from homeport.target import current, fit, room

serves_others = "gpu_hosts" in host.groups
serves_itself = "laptops" in host.groups
has_people = "workstations" in host.groups

target = current()

checks = [room]  # on the disk
if serves_others:
    checks.append(gpu_host.problems)  # Python, disk
if serves_itself:
    checks.append(laptop.problems)  # Python, disk, weights, port
if has_people:
    checks.append(workstation.problems)  # settings.json that cannot be merged into

if target and fit(target, *checks):
    turn.apply(target=target)  # waits while another run is at work here

    if serves_others:
        gpu_host.apply(target=target)  # weights; its server is not managed yet, and it says so

    if serves_itself:
        laptop.apply(target=target)  # engine, weights, service; it has to answer

    if has_people:
        workstation.apply(target=target)  # use-scripts, settings.json, PATH
