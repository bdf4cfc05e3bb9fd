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

#: What Debian's packages make and do not take away again.
_MADE = "/var/www/html/index.nginx-debian.html /var/www/html /var/www"

# What apt is about to install is recorded first, with the paths that come with it, and the
# distribution's own server is masked, so that a run that is interrupted anywhere leaves nothing
# that serves, and nothing unknown. Where nothing was installed nothing stays, or what a person then
# installs would be taken for ours.
_INSTALL = f"""{AS_ROOT}
export LC_ALL=C
apt="apt-get -qq --no-install-recommends"
apt="$apt -o DPkg::Lock::Timeout=120 -o APT::Keep-Downloaded-Packages=false"
new() {{ $apt --simulate install {PACKAGE} | awk '$1 == "Inst" && $3 ~ /^[(]/ {{ print $2 }}'; }}
install() {{
  root env DEBIAN_FRONTEND=noninteractive $apt -y install {PACKAGE} </dev/null >/dev/null; }}
fail() {{
  [ -n "$(dpkg-query -W $packages 2>/dev/null)" ] || {{ rm -f "$record"; $unmask; }}
  echo "$failed" >&2; exit 1; }}
unmask=true
packages=$(new)
[ -n "$packages" ] || {{ root $apt update; packages=$(new); }}
[ -n "$packages" ] || fail
echo "$packages" >> "$record"
for path in {_MADE}; do [ -e "$path" ] || echo "$path" >> "$record"; done
if [ -d /etc/systemd/system ] && [ ! -e {UNIT} ] && [ ! -L {UNIT} ]; then
  echo {UNIT} >> "$record"
  root ln -s /dev/null {UNIT}
  unmask="root rm -f {UNIT}"
fi
install || {{ root $apt update && install; }} || fail
"""

# dpkg, unlike apt, takes away nothing that somebody else's package needs. Where the distribution's
# own server is masked no more, somebody has taken it into use.
_PURGE = f"""{AS_ROOT}
paths=$(grep ^/ "$record")
if grep -qxF {UNIT} "$record" && [ "$(readlink {UNIT})" != /dev/null ]; then packages=; paths=; fi
case "$packages" in ?*)
  root env DEBIAN_FRONTEND=noninteractive dpkg --purge $packages </dev/null >/dev/null || {{
    echo "$failed" >&2; exit 1; }} ;;
esac
for path in $paths; do
  if [ -d "$path" ]; then root rmdir "$path" 2>/dev/null; else root rm -f "$path"; fi
done
[ ! -d /run/systemd/system ] || root systemctl daemon-reload
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
