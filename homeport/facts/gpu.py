"""What a host has that is to serve on GPUs."""

from __future__ import annotations

from pyinfra.api import FactBase, QuoteString, StringCommand

from ..gpu_checks import Gpu, GpuHost, Process

_QUERY = "index,name,memory.total,driver_version"

_SCRIPT = f"""
: homeport: gpu host
. /etc/os-release 2>/dev/null
echo "os=$ID $VERSION_ID"
echo "arch=$(uname -m)"
[ -d /run/systemd/system ] && echo systemd=yes
echo "uid=$(id -u)"
echo "memory_kib=$(sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)"
shm=$(df -Pk /dev/shm 2>/dev/null | tail -n 1)
echo "shm_kib=$(echo "$shm" | sed -E 's/.* ([0-9]+) +[0-9]+ +[0-9]+ +[0-9]+% .*/\\1/')"
echo "time=$(date +%s)"
for name in $names; do
  found=$(getent ahosts "$name" 2>/dev/null | cut -d' ' -f1 | sort -u | tr '\\n' ' ')
  echo "resolves=$name $found"
done
echo "account=$(getent passwd "$account" | cut -d: -f3)"
for device in /sys/bus/pci/devices/*; do
  case $(cat "$device/vendor" "$device/class" 2>/dev/null | tr '\\n' ' ') in
    "0x10de 0x0302"*|"0x10de 0x0300"*) echo pci=yes ;;
  esac
done
if command -v nvidia-smi >/dev/null; then
  echo smi=yes
  if found=$(nvidia-smi --query-gpu={_QUERY} --format=csv,noheader,nounits 2>&1); then
    echo "$found" | sed 's/^/gpu=/'
    # Drivers before 530 do not know these fields.
    fabric=$(nvidia-smi --query-gpu=fabric.state,fabric.status --format=csv,noheader 2>&1) \\
      && echo "$fabric" | sed 's/^/fabric=/'
    nvidia-smi --query-compute-apps=pid,process_name,used_memory --format=csv,noheader,nounits \\
      2>/dev/null | while IFS=, read -r pid rest; do
        grep -qF "/$unit" "/proc/$pid/cgroup" 2>/dev/null || echo "process=$pid,$rest"
      done
  else
    echo "$found" | sed 's/^/smi_error=/'
  fi
fi
true
"""


class GpuHostFact(FactBase[GpuHost]):
    """The `GpuHost`, in one command: `names` are looked up, processes of `unit` left out, and the
    user `account` is looked for."""

    def command(self, names: tuple[str, ...], unit: str, account: str) -> StringCommand:
        return StringCommand(
            "names=", QuoteString(" ".join(names)), "; unit=", QuoteString(unit),
            "; account=", QuoteString(account), "\n", _SCRIPT, _separator="",
        )  # fmt: skip

    def process(self, output: list[str]) -> GpuHost:
        lines: dict[str, list[str]] = {}
        for line in output:
            key, mark, value = line.partition("=")
            if mark:
                lines.setdefault(key, []).append(value.strip())

        def one(key: str) -> str:
            return lines.get(key, [""])[0]

        errors = lines.get("smi_error")
        return GpuHost(
            os=one("os"),
            arch=one("arch"),
            root=one("uid") == "0",
            systemd=one("systemd") == "yes",
            memory=_number(one("memory_kib")) * 1024,
            shm=_number(one("shm_kib")) * 1024,
            time=_number(one("time")),
            resolves={
                name: tuple(found)
                for name, *found in (line.split() for line in lines.get("resolves", []))
            },
            account=_number(one("account")) if one("account") else None,
            on_bus=len(lines.get("pci", [])),
            smi="smi" in lines,
            smi_error=" ".join(errors) if errors else None,
            gpus=tuple(_gpu(line) for line in lines.get("gpu", [])),
            fabric=tuple(lines.get("fabric", [])),
            processes=tuple(_process(line) for line in lines.get("process", [])),
        )


def _gpu(line: str) -> Gpu:
    _, name, memory, driver = [part.strip() for part in f"{line},,,".split(",")[:4]]
    return Gpu(name, _number(memory) * 1024**2, driver)


def _process(line: str) -> Process:
    pid, name, memory = [part.strip() for part in f"{line},,".split(",")[:3]]
    return Process(_number(pid), name, _number(memory) * 1024**2)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
