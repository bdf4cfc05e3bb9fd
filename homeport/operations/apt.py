"""Packages of the distribution: installed where they are missing, and then taken away again."""

from __future__ import annotations

from pyinfra import host
from pyinfra.api import QuoteString, StringCommand, operation

from ..facts.file import FileStateFact
from ..facts.packages import AS_ROOT, InstalledFact, MissingFact
from ..layout import Layout
from .file import Commands

# What apt is about to install is recorded first, with the paths that come with it, and the
# distribution's own server is masked, so that a run that is interrupted anywhere leaves nothing
# that serves, and nothing unknown. Where nothing was installed nothing stays, or what a person then
# installs would be taken for ours.
_INSTALL = f"""{AS_ROOT}
export LC_ALL=C
apt="apt-get -qq --no-install-recommends"
apt="$apt -o DPkg::Lock::Timeout=120 -o APT::Keep-Downloaded-Packages=false"
new() {{ $apt --simulate install $wanted | awk '$1 == "Inst" && $3 ~ /^[(]/ {{ print $2 }}'; }}
install() {{
  root env DEBIAN_FRONTEND=noninteractive $apt -y install $wanted </dev/null >/dev/null; }}
fail() {{
  [ -n "$(dpkg-query -W $packages 2>/dev/null)" ] || {{
    if [ -n "$before" ]; then echo "$before" > "$record"; else rm -f "$record"; fi; $unmask; }}
  echo "$failed" >&2; exit 1; }}
unmask=true
before=$(cat "$record" 2>/dev/null)
packages=$(new)
[ -n "$packages" ] || {{ root $apt update; packages=$(new); }}
[ -n "$packages" ] || fail
echo "$packages" >> "$record"
for path in $made; do [ -e "$path" ] || echo "$path" >> "$record"; done
if [ -n "$unit" ] && [ -d /etc/systemd/system ] && [ ! -e "$unit" ] && [ ! -L "$unit" ]; then
  echo "$unit" >> "$record"
  root ln -s /dev/null "$unit"
  unmask="root rm -f $unit"
fi
install || {{ root $apt update && install; }} || fail
"""

# dpkg, unlike apt, takes away nothing that somebody else's package needs. Where the distribution's
# own server is masked no more, somebody has taken it into use.
_PURGE = f"""{AS_ROOT}
paths=$(grep ^/ "$record")
for unit in $(grep ^/etc/systemd/system/ "$record"); do
  if [ "$(readlink "$unit")" != /dev/null ]; then packages=; paths=; fi
done
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


def install(
    packages: list[str], layout: Layout, by_hand: str, made: str = "", unit: str = ""
) -> StringCommand:
    """The command that installs `packages`, and records what is new with them.

    `by_hand` is what a person types instead. `made` are the paths, in a shell's words, that the
    packages make and do not take away again, `unit` that of a service which is not to start.
    """
    names = " ".join(packages)
    failed = f"homeport: apt could not install {names}, see its lines above. Type: {by_hand}"
    return StringCommand(
        "record=", QuoteString(layout.installed_packages), "; wanted=", QuoteString(names),
        "; made=", QuoteString(made), "; unit=", QuoteString(unit), "; failed=",
        QuoteString(failed), "\n", _INSTALL, _separator="",
    )  # fmt: skip


@operation()
def present(packages: list[str], layout: Layout) -> Commands:
    """Have `packages` on the host."""
    missing: list[str] = host.get_fact(MissingFact, packages=tuple(packages))
    if not missing:
        host.noop("all packages are there")
        return
    yield install(missing, layout, f"sudo apt install {' '.join(missing)}")


@operation()
def absent(layout: Layout) -> Commands:
    """Take away what was installed; but a server that somebody has taken into use since."""
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
