"""The router of a workstation: HAProxy, its configuration, and that it answers."""

from __future__ import annotations

from pyinfra import host, state
from pyinfra.api import operation

from .. import render, report
from .. import router as routing
from ..facts.haproxy import PACKAGE, UNIT, HaproxyFact
from ..facts.service import LastLogLines
from ..router import Router
from ..service import Service, digest, sealed
from ..serving import supervisor_python
from ..target import Target
from . import apt, brew, file, service, verify
from .file import Commands, said_failure

#: What a person types who has the right to.
BY_HAND = f"sudo apt install {PACKAGE} && sudo systemctl disable --now {PACKAGE}"

#: What Debian's package makes and does not take away again.
_MADE = "/etc/haproxy/errors /etc/haproxy /var/lib/haproxy/dev /var/lib/haproxy"


@operation()
def present(target: Target) -> Commands:
    """Have HAProxy on the host; where it is there it is left as it is."""
    found, machine = host.get_fact(HaproxyFact), target.machine
    if found.program:
        host.noop(f"{found.program} is there")
    elif machine.kernel == "Darwin":
        yield from brew.installed._inner(
            brew=machine.brew or "brew", formula=PACKAGE, layout=target.layout
        )
    else:
        yield apt.install([PACKAGE], target.layout, BY_HAND, made=_MADE, unit=UNIT)


@operation()
def served(router: Router, target: Target) -> Commands:
    """Have HAProxy route what `router` says. What it is started from depends on the program that is
    there, so it is found out when it comes to that."""
    layout, machine = target.layout, target.machine
    for path, content in (
        (routing.secret(layout), f"{router.route.client_token}\n".encode()),
        (routing.tokens(layout), router.tokens),
        (routing.configuration(layout), _configuration(router, target)),
    ):
        yield from file.write._inner(path=path, content=content, mode="600")
    definition = routing.definition(machine.manager, layout)
    yield from service.in_place(
        _service(router, target), machine.manager, definition, supervisor_python(target)
    )


@operation()
def answers(router: Router, target: Target) -> Commands:
    """Report that the router is up, takes its token and no other, and lists its models; fail with
    the cause in words. Changes nothing."""
    if not state.is_executing:
        return
    said = verify.routed(router.route, target)
    if said is None:
        names = ", ".join(route.alias for route in router.routes)
        passed = [f"passes on to Anthropic {', '.join(router.anthropic)}"] * bool(router.anthropic)
        report.say(
            host,
            f"the router at {router.endpoint.url} answers for {names}"
            f"{', and '.join(('', *passed))}",
        )
        return
    lines = host.get_fact(
        LastLogLines, service=_service(router, target), manager=target.machine.manager, count=8
    )
    for line in lines:
        host.log(f"  {line}")
    sentence = f"the router at {router.endpoint.url} {said}"
    yield said_failure(sentence)


def _configuration(router: Router, target: Target) -> bytes:
    machine, layout = target.machine, target.layout
    restart = routing.start_by_hand(machine.manager, layout, supervisor_python(target))
    return render.router(router, layout, machine.kernel, restart)


def _service(router: Router, target: Target) -> Service:
    found = host.get_fact(HaproxyFact)
    content = _configuration(router, target)
    secrets = router.route.client_token + router.tokens.decode()
    inputs = (digest(content.decode()), sealed(secrets), found.made)
    cas = tuple(digest((one.endpoint.ca or b"").decode()) for one in router.routes)
    return routing.service(found.program or PACKAGE, (*inputs, *cas), target.layout)
