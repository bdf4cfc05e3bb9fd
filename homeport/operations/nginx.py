"""nginx, installed where it is not there, and then taken away again."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from ..facts.file import FileStateFact
from ..facts.nginx import AS_ROOT, PACKAGE, UNIT, InstalledFact, NginxFact
from ..layout import Layout
from .file import Commands

#: What a person types who has the right to.
BY_HAND = f"sudo apt install {PACKAGE} && sudo systemctl disable --now nginx"

# What apt is about to install is recorded first, and the distribution's own server masked, so that
# a run that is interrupted anywhere leaves nothing that serves, and nothing unknown.
_INSTALL = f"""{AS_ROOT}
export LC_ALL=C
apt="apt-get -qq --no-install-recommends -o DPkg::Lock::Timeout=120"
new() {{ $apt --simulate install {PACKAGE} | awk '$1 == "Inst" && $3 ~ /^[(]/ {{ print $2 }}'; }}
[ -n "$(new)" ] || root $apt update
new > "$record" && [ -s "$record" ] || {{ rm -f "$record"; echo "$failed" >&2; exit 1; }}
[ ! -d /etc/systemd/system ] || [ -e {UNIT} ] || [ -L {UNIT} ] || root ln -s /dev/null {UNIT}
install() {{
  root env DEBIAN_FRONTEND=noninteractive $apt -y install {PACKAGE} </dev/null >/dev/null; }}
install || {{ root $apt update && install; }} || {{ echo "$failed" >&2; exit 1; }}
"""

# dpkg, unlike apt, takes away nothing that somebody else's package needs. Where the distribution's
# own server is masked no more, somebody has taken it into use.
_PURGE = f"""{AS_ROOT}
[ ! -d /run/systemd/system ] || [ "$(readlink {UNIT})" = /dev/null ] || packages=
case "$packages" in ?*)
  root env DEBIAN_FRONTEND=noninteractive dpkg --purge $packages </dev/null >/dev/null || {{
    echo "$failed" >&2; exit 1; }} ;;
esac
[ "$(readlink {UNIT})" != /dev/null ] || {{
  root rm -f {UNIT}
  [ ! -d /run/systemd/system ] || root systemctl daemon-reload
}}
rm -f "$record"
"""


@operation()
def present(layout: Layout) -> Commands:
    """Have nginx on the host; where it is there it is left as it is."""
    found = host.get_fact(NginxFact)
    if found.program:
        host.noop(f"{found.program} is there")
        return
    failed = f"homeport: apt could not install {PACKAGE}, see its lines above. Type: {BY_HAND}"
    yield StringCommand(
        "record=", QuoteString(layout.installed_packages), "; failed=", QuoteString(failed), "\n",
        _INSTALL, _separator="",
    )  # fmt: skip


@operation()
def absent(layout: Layout) -> Commands:
    """Take away what `present` installed, unless its server has been taken into use since."""
    record = layout.installed_packages
    if not host.get_fact(FileStateFact, path=record):
        host.noop("homeport installed no package")
        return
    installed: list[str] = host.get_fact(InstalledFact, record=record)
    packages = " ".join(installed)
    failed = (
        f"homeport: these could not be removed, see above: {packages}. Type: "
        f"sudo dpkg --purge {packages}; or, to keep them: rm {record}. Then run this again"
    )
    yield StringCommand(
        "record=", QuoteString(record), "; packages=", QuoteString(packages),
        "; failed=", QuoteString(failed), "\n", _PURGE, _separator="",
    )  # fmt: skip
