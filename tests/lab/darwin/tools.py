"""Which programs the sessions have, besides the stand-ins of standins/."""

from __future__ import annotations

from dataclasses import dataclass

#: In /usr/bin and in /usr/sbin.
STAND_INS = (
    *("base64", "date", "df", "dscl", "launchctl", "mktemp", "plutil", "pmset", "ps", "readlink"),
    *("sed", "shasum", "stat", "sw_vers", "uname", "wc"),
)
STAND_INS_SBIN = ("lsof", "sysctl")

#: Linux's own, unchecked: nothing in their use here differs on a Mac. python3 comes on top.
PLAIN = (
    *("[", "awk", "bash", "clear", "comm", "curl", "diff", "echo", "egrep", "env", "expand"),
    *("expr", "false", "fgrep", "fold", "getconf", "gunzip", "gzip", "join", "kill", "locale"),
    *("logname", "mkfifo", "nice", "nl", "nohup", "od", "openssl", "paste", "perl", "printenv"),
    *("printf", "pwd", "scp", "seq", "sftp", "sh", "sleep", "split", "ssh", "ssh-keygen", "stty"),
    *("su", "sudo", "sync", "tar", "test", "tput", "true", "tty", "unexpand", "which", "who"),
    *("whoami", "yes", "zsh"),
)


@dataclass(frozen=True)
class Checked:
    """Linux's own behind a check of its options: those that its manual page on a Mac has, and that
    mean the same here, as for getopts(1). `status` is that of a wrong one (sysexits or 1)."""

    name: str
    options: str
    status: int = 1
    first: str = ""
    runs_others: bool = False

    def script(self, template: str) -> str:
        # Makes GNU's stop at the first operand as BSD's do, and is inherited.
        before = "" if self.runs_others else "POSIXLY_CORRECT=1 "
        words = {
            "@NAME@": self.name,
            "@OPTIONS@": self.options,
            "@STATUS@": str(self.status),
            "@FIRST@": self.first,
            "@BEFORE@": before,
            "@LATE@": "1" if self.runs_others else "0",
        }
        for word, value in words.items():
            template = template.replace(word, value)
        return template


CHECKED = (
    Checked("basename", "as:"),
    Checked("cat", "benstuv"),
    Checked("chmod", "fRv"),
    Checked("chown", "fhHLPRv"),
    Checked("cmp", "ls", 2),
    Checked("cp", "afHiLnPpRrv", 64),
    Checked("cut", "b:c:d:f:ns"),
    Checked("dirname", ""),
    Checked("du", "acd:HhkLmPsx", 64),
    Checked("grep", "A:abB:C:cEe:Ff:GHhIiLlm:noqRrsvwx", 2),
    Checked("head", "c:n:0123456789"),
    Checked("hostname", "fs"),
    Checked("id", "Ggnru"),
    Checked("ln", "finsv"),
    Checked("ls", "1AaCcdFfgHhikLlmnopqRrSstux"),
    Checked("mkdir", "m:pv", 64),
    Checked("mv", "finv", 64),
    Checked("realpath", "q"),
    Checked("rm", "dfiRrv", 64),
    Checked("rmdir", "pv"),
    Checked("sort", "bCcdfghik:Mmno:Rrst:uVz", 2),
    Checked("tail", "c:Ffn:q0123456789"),
    Checked("tee", "ai"),
    Checked("touch", "achmr:t:"),
    Checked("tr", "Ccds"),
    Checked("uniq", "cdf:is:u"),
    # BSD's runs nothing when nothing comes in.
    Checked("xargs", "0E:I:L:n:P:prs:tx", first="-r ", runs_others=True),
)
