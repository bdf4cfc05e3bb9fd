"""Make each host what its groups say: pyinfra inventory/prod.py deploy.py

A host is looked at first. Where something stands in the way it is named, and nothing is changed.
"""

from pyinfra import host

from homeport.roles import doctor, gpu_host, laptop, mirror, router, turn, weights, workstation
from homeport.target import current, fit, room

holds_weights = "mirror" in host.groups
serves_others = "gpu_hosts" in host.groups
serves_itself = "laptops" in host.groups
has_people = "workstations" in host.groups

target = current()

checks = [room]  # on the disk
services = []  # of all roles of this host; none removes another's
if holds_weights:
    checks.append(mirror.problems)  # Linux, nginx, Python, disk, port
    services.append(mirror.services)
if serves_others:
    checks.append(gpu_host.problems)  # system, GPUs, driver, memory, disk, port, clock, name
    services.append(gpu_host.services)
if serves_itself:
    checks.append(laptop.problems)  # llama.cpp or Python for it, disk, weights, port
    services.append(laptop.services)
if has_people:
    checks.append(workstation.problems)  # settings.json that cannot be merged into, Claude Code
    checks.append(router.problems)  # HAProxy, port
    services.append(router.services)

if target and fit(target, *checks):
    turn.apply(target=target)  # waits while another run is at work here
    keep = [definition for of_role in services for definition in of_role(target)]

    if holds_weights:
        mirror.apply(target=target, keep=keep)  # weights, nginx; it has to answer
    if target.settings.source.mirror or holds_weights:
        weights.awaited(target=target)  # nobody pulls from it before it has them

    if serves_others:
        gpu_host.apply(target=target, keep=keep)  # engine, weights, service; all is proven

    if serves_itself:
        laptop.apply(target=target, keep=keep)  # engine, weights, service; it has to answer

    if has_people:
        router.apply(target=target, keep=keep)  # where it is wanted; it has to answer
        workstation.apply(target=target)  # Claude Code, use-scripts, settings.json, PATH

    doctor.apply(target=target)  # homeport-doctor, for when something does not work
