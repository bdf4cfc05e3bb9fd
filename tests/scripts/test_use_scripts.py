"""The use-scripts in real bash and real zsh: what they start, what they say, what they leave."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from homeport import claude_code, render
from homeport.model import Endpoint, Route, Token

from .. import certificates
from .conftest import CLAUDE, Home, Server

#: Prints every variable of the shell that is a user's, with a mark on those that are exported.
SHOW = r"""
show() {
  for n in ANTHROPIC_API_KEY ANTHROPIC_MODEL ANTHROPIC_BASE_URL CLAUDE_CODE_SIMPLE NO_PROXY MINE; do
    if eval "[ -n \"\${$n+x}\" ]"; then
      e=; if printenv "$n" >/dev/null; then e=' exported'; fi
      eval "printf '%s=%s%s\n' $n \"\$$n\" \"$e\""
    fi
  done
}
"""


def env_of(output: str) -> dict[str, str]:
    return dict(re.findall(r"^env:([^=]+)=(.*)$", output, re.MULTILINE))


def args_of(output: str) -> list[str]:
    return re.findall(r"^arg:(.*)$", output, re.MULTILINE)


def test_sourced_from_any_directory(shell: str, home: Home, route: Route, server: Server) -> None:
    home.install(route)
    done = home.run(shell, 'cd /; source use-fable5.sh -p "a  b" \'$x\'; echo "status:$?"')
    assert done.stderr == ""
    settings = home.layout.route_settings(route)
    assert args_of(done.stdout) == ["--settings", settings, "-p", "a  b", "$x"]
    assert "status:7" in done.stdout
    expected = claude_code.environment(route)
    assert {name: env_of(done.stdout).get(name) for name in expected} == expected
    assert server.token == "Bearer geheimes-token-123"


@pytest.mark.parametrize("by", ["curl", "python3"])
def test_a_private_ca(
    shell: str, home: Home, route: Route, server: Server, tmp_path: Path, by: str
) -> None:
    ca, context = certificates.authority(tmp_path, "127.0.0.1")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    trusted = replace(route, endpoint=replace(route.endpoint, tls=True, ca=ca))
    home.install(trusted)
    path = only_programs(tmp_path / "path", by)
    path_of_ca = Path(home.layout.ca(trusted) or "")
    path_of_ca.write_bytes(ca)
    done = home.run(shell, "use-fable5.sh", path)
    assert (done.stderr, done.returncode) == ("", 7)
    assert env_of(done.stdout)["NODE_EXTRA_CA_CERTS"] == str(path_of_ca)
    home.install(replace(trusted, endpoint=replace(trusted.endpoint, ca=None)))
    done = home.run(shell, "use-fable5.sh", path)
    assert done.returncode == 1
    assert f"the certificate of {trusted.endpoint.url} is not trusted here" in done.stderr


def test_aliases_of_the_users_do_not_come_between(shell: str, home: Home, route: Route) -> None:
    home.install(route)
    setup = {"bash": "shopt -s expand_aliases", "zsh": ":"}[shell]
    aliases = "alias cat='cat -n' grep='grep -n' tr='echo' cut='echo' head='echo' printenv='echo'"
    done = home.run(shell, f"{setup}\n{aliases}\nsource use-fable5.sh; source use-anthropic.sh")
    assert env_of(done.stdout)["ANTHROPIC_AUTH_TOKEN"] == route.client_token
    assert done.stderr.startswith("homeport: back to Anthropic")


@pytest.mark.parametrize("by_hand", ["HOMEPORT_ROUTE=claude-glm", "ANTHROPIC_BASE_URL=http://x"])
def test_what_people_have_for_other_reasons_stays_in_a_child_shell(
    shell: str, home: Home, route: Route, by_hand: str
) -> None:
    home.install(route)
    theirs = {
        "NODE_EXTRA_CA_CERTS": "/etc/corp.pem",
        "ANTHROPIC_CUSTOM_HEADERS": "X-Team: 7",
        "API_TIMEOUT_MS": "18000000",
        "ANTHROPIC_API_KEY": "sk-ant-mine",
    }
    ours = {
        "NODE_EXTRA_CA_CERTS": f"{home.layout.path('routes')}/a.pem",
        "ANTHROPIC_CUSTOM_HEADERS": "X-Homeport-Router: t",
        "API_TIMEOUT_MS": claude_code.PATIENCE,
        "ANTHROPIC_API_KEY": "",
    }
    script = f"export {by_hand}; source use-anthropic.sh 2>/dev/null; env"
    for before, after in ((theirs, theirs), (ours, {})):
        shown = home.run(shell, script, **before).stdout.splitlines()
        found = dict(line.split("=", 1) for line in shown if "=" in line)
        assert {name: found[name] for name in theirs if name in found} == after


@pytest.mark.parametrize("export", ["", "export NO_PROXY"])
def test_no_proxy_is_exported_as_before(shell: str, home: Home, route: Route, export: str) -> None:
    home.install(route)
    script = f"""{SHOW}
NO_PROXY=corp.example
{export or ":"}
source use-fable5.sh
source use-anthropic.sh 2>/dev/null
show"""
    shown = home.run(shell, script).stdout.splitlines()
    assert f"NO_PROXY=corp.example{' exported' if export else ''}" in shown


def test_each_claude_that_follows_has_the_routes_settings(
    shell: str, home: Home, route: Route
) -> None:
    home.install(route)
    settings = home.layout.route_settings(route)
    script = """
    source use-fable5.sh one >/dev/null 2>&1; claude two; claude --settings=x three
    source use-anthropic.sh 2>/dev/null; claude four
    """
    done = home.run(shell, script)
    assert args_of(done.stdout) == ["--settings", settings, "two", "four"]
    assert "claude-fable5: --settings would take the place of the route's own." in done.stderr


def test_an_alias_goes_on_meaning_what_it_does(shell: str, home: Home, route: Route) -> None:
    """As the client's own installer makes one, which is then the only way to it."""
    home.install(route)
    program = home.programs / "claude"
    program.rename(home.path / "local-claude")
    settings = home.layout.route_settings(route)
    aliases = "shopt -s expand_aliases" if shell == "bash" else "setopt aliases"
    (home.path / "script").write_text(
        """
        source use-fable5.sh one
        eval 'claude two'
        source use-anthropic.sh 2>/dev/null
        eval 'claude three'
        alias claude
        """
    )
    start = f"""{aliases}; alias claude='"$HOME/local-claude" --mine'"""
    done = home.run(shell, f"{start}\nsource ~/script")
    mine = ["--mine", "--settings", settings]
    assert args_of(done.stdout) == [*mine, "one", *mine, "two", "--mine", "three"], done.stderr
    assert "local-claude" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("words", ["--settings x", "--settings=x", "-p hi --settings x"])
@pytest.mark.parametrize("start", ["use-fable5.sh", "source use-fable5.sh"])
def test_other_settings_are_refused(
    shell: str, home: Home, route: Route, start: str, words: str
) -> None:
    home.install(route)
    done = home.run(shell, f'{start} {words}; echo "status:$?"')
    assert args_of(done.stdout) == []
    assert "status:1" in done.stdout
    assert "--settings would take the place of the route's own" in done.stderr
    assert "HOMEPORT_ROUTE" not in home.run(shell, f"{start} {words}; env").stdout


def test_run_directly_leaves_the_shell_untouched(shell: str, home: Home, route: Route) -> None:
    home.install(route)
    done = home.run(shell, 'use-fable5.sh one; echo "status:$?"; env | sed "s/^/after:/"')
    assert args_of(done.stdout)[-1] == "one"
    assert env_of(done.stdout)["ANTHROPIC_MODEL"] == "claude-fable5"
    assert "status:7" in done.stdout
    assert "after:ANTHROPIC" not in done.stdout
    assert "after:HOMEPORT" not in done.stdout


@pytest.mark.parametrize("start", ["use-fable5.sh", "source use-fable5.sh"])
def test_check_alone(shell: str, home: Home, route: Route, server: Server, start: str) -> None:
    home.install(route)
    script = f"{start} --check; echo status:$?; env"
    good = home.run(shell, script)
    server.status = 401
    bad = home.run(shell, script)
    assert "status:0" in good.stdout and good.stderr == ""
    assert "status:1" in bad.stdout and SENTENCES["token"] in bad.stderr
    for done in (good, bad):
        assert "ANTHROPIC" not in done.stdout and "arg:" not in done.stdout


def test_there_and_back_again(shell: str, home: Home, route: Route, other: Route) -> None:
    home.install(route)
    home.install(other)
    server_serves_both = "source use-fable5.sh; source use-other.sh; source use-fable5.sh"
    script = f"""
    {SHOW}
    export ANTHROPIC_API_KEY=sk-ant-mine ANTHROPIC_MODEL='a  "b" $c' NO_PROXY=example.com
    CLAUDE_CODE_SIMPLE=not-exported
    MINE=1
    show > before
    set | sed 's/=.*//' | sort > names-before
    {{ {server_serves_both}; }} >/dev/null
    source use-anthropic.sh
    show > after
    set | sed 's/=.*//' | sort > names-after
    """
    done = home.run(shell, script)
    assert "back to Anthropic" in done.stderr
    before, after = ((home.path / name).read_text() for name in ("before", "after"))
    assert after == before
    assert "sk-ant-mine exported" in after
    assert "not-exported\n" in after
    names = [set((home.path / f"names-{when}").read_text().split()) for when in ("before", "after")]
    assert not [name for name in names[1] - names[0] if "homeport" in name.lower()]


@pytest.fixture(autouse=True)
def serve_both(server: Server) -> None:
    server.served = ["claude-fable5", "claude-other"]


def test_a_real_key_is_put_aside_and_shown_to_nobody(shell: str, home: Home, route: Route) -> None:
    home.install(route)
    done = home.run(shell, "source use-fable5.sh", ANTHROPIC_API_KEY="sk-ant-mine")
    assert env_of(done.stdout)["ANTHROPIC_API_KEY"] == ""
    assert "sk-ant-mine" not in done.stdout


def test_switching_leaves_nothing_of_the_other_route(
    shell: str, home: Home, route: Route, other: Route
) -> None:
    home.install(route)
    home.install(other)
    done = home.run(shell, "source use-fable5.sh >/dev/null; source use-other.sh")
    env = env_of(done.stdout)
    assert env["ANTHROPIC_MODEL"] == "claude-other"
    assert "CLAUDE_CODE_SIMPLE" not in env, "only the small model's route sets it"
    assert env["NO_PROXY"] == "127.0.0.1"


@pytest.mark.parametrize("before", ["corp.example", "127.0.0.1", "a,127.0.0.1", ""])
def test_no_proxy_survives_a_child_shell(
    shell: str, before: str, home: Home, route: Route, other: Route
) -> None:
    """Only what the route appended is taken away, even where the memory of the rest is not."""
    home.install(route)
    home.install(other)
    inner = "source use-other.sh >/dev/null; source use-anthropic.sh; printf '<%s>' \"$NO_PROXY\""
    script = f"source use-fable5.sh >/dev/null; {shell} -c '{inner.replace(chr(39), '%')}'"
    done = home.run(shell, script.replace("%<", '"<').replace(">%", '>"'), NO_PROXY=before)
    assert done.stdout == f"<{before}>", done.stderr


def test_way_back_after_exports_by_hand_keeps_the_key(shell: str, home: Home, route: Route) -> None:
    home.install(route)
    done = home.run(
        shell,
        "source use-anthropic.sh; env | sed 's/^/env:/'",
        ANTHROPIC_BASE_URL="http://elsewhere",
        ANTHROPIC_AUTH_TOKEN="dummy",
        ANTHROPIC_API_KEY="sk-ant-mine",
    )
    assert "ANTHROPIC_BASE_URL" not in env_of(done.stdout)
    assert "ANTHROPIC_AUTH_TOKEN" not in env_of(done.stdout)
    assert env_of(done.stdout)["ANTHROPIC_API_KEY"] == "sk-ant-mine"


def test_way_back_without_a_route_changes_nothing(shell: str, home: Home, route: Route) -> None:
    home.install(route)
    done = home.run(shell, "source use-anthropic.sh; env | sed 's/^/env:/'", ANTHROPIC_MODEL="opus")
    assert env_of(done.stdout)["ANTHROPIC_MODEL"] == "opus"


def test_way_back_run_directly(shell: str, home: Home, route: Route) -> None:
    home.install(route)
    script = "source use-fable5.sh >/dev/null; use-anthropic.sh hello"
    done = home.run(shell, script, ANTHROPIC_API_KEY="sk-ant-mine")
    assert args_of(done.stdout) == ["hello"]
    assert not [name for name in env_of(done.stdout) if name.startswith("ANTHROPIC")]


def test_way_back_warns_of_settings_that_beat_it(shell: str, home: Home, route: Route) -> None:
    home.install(route)
    (home.path / ".claude").mkdir()
    settings = home.path / ".claude" / "settings.json"
    settings.write_text('{"env": {"ANTHROPIC_BASE_URL": "http://x"}}')
    assert "beats this shell" in home.run(shell, "source use-anthropic.sh").stderr


def test_way_back_warns_of_a_model_that_was_picked(shell: str, home: Home, route: Route) -> None:
    home.install(route)
    (home.path / ".claude").mkdir()
    settings = home.path / ".claude" / "settings.json"
    settings.write_text('{"model": "opus"}')
    assert "picked in /model" not in home.run(shell, "source use-anthropic.sh").stderr
    settings.write_text('{\n  "model": "claude-fable5"\n}')
    assert "picked in /model" in home.run(shell, "source use-anthropic.sh").stderr


@pytest.mark.parametrize("options", ["set -eu", "set -u", "set -e", "set -o noclobber", "set -f"])
def test_strict_shells(shell: str, options: str, home: Home, route: Route) -> None:
    home.install(route)
    (home.programs / "claude").write_text(CLAUDE.replace("exit 7", "exit 0"))
    script = f"{options}; source use-fable5.sh x; source use-anthropic.sh; echo reached"
    done = home.run(shell, script)
    assert "reached" in done.stdout, done.stderr
    assert args_of(done.stdout)[-1] == "x"


@pytest.mark.parametrize("option", ["ksh_arrays", "sh_word_split", "no_nomatch", "glob_subst"])
def test_zsh_options(option: str, home: Home, route: Route, needs: Callable[..., None]) -> None:
    needs("zsh")
    home.install(route)
    script = f"setopt {option}; source use-fable5.sh x; source use-anthropic.sh; setopt; echo done"
    done = home.run("zsh", script)
    assert option.removeprefix("no_").replace("_", "") in done.stdout
    assert args_of(done.stdout)[-1] == "x", done.stderr


def states(server: Server) -> dict[str, Callable[[], None]]:
    def loading() -> None:
        server.status = 503

    def token() -> None:
        server.status = 401

    def alias() -> None:
        server.served = ["claude-glm", "gpt"]

    def stranger() -> None:
        server.status = 404

    def silent() -> None:
        server.delay.clear()

    def refused() -> None:
        server.shutdown()
        server.server_close()

    return {
        "loading": loading,
        "token": token,
        "alias": alias,
        "stranger": stranger,
        "silent": silent,
        "refused": refused,
    }


SENTENCES = {
    "loading": "still loading the model. Try again in a moment",
    "token": "takes another token. FIX",
    "alias": "does not serve this name, but claude-glm gpt . Run the deploy again",
    "stranger": "answers HTTP 404, so it is not a model server",
    "silent": "did not answer within 2 s",
    "refused": "nothing listens at http://127.0.0.1:{port}; start it: GO",
}


@pytest.mark.parametrize("probe", ["curl", "python3"])
@pytest.mark.parametrize("state", SENTENCES)
def test_each_state_of_the_server_is_one_line_with_the_fix(
    shell: str,
    state: str,
    probe: str,
    home: Home,
    route: Route,
    server: Server,
    tmp_path: Path,
    needs: Callable[..., None],
) -> None:
    needs(probe)
    home.install(route)
    port = server.port
    states(server)[state]()
    path = only_programs(tmp_path / "path", probe)
    started = time.monotonic()
    done = home.run(shell, "source use-fable5.sh; echo status:$?; env", path=path)
    assert time.monotonic() - started < 20
    assert "status:1" in done.stdout
    assert "arg:" not in done.stdout, "claude was started all the same"
    assert "ANTHROPIC" not in done.stdout, "the shell was changed all the same"
    assert done.stderr.startswith("homeport: claude-fable5: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert SENTENCES[state].format(port=port) in done.stderr


def only_programs(folder: Path, probe: str, *more: str) -> str:
    """A PATH with a minimal system's programs, and one of the two that can ask a server."""
    folder.mkdir()
    usual = ("cat", "tr", "printenv", "env", "grep", "cut", "head", "bash", "sed", "sh", "awk")
    for name in (*usual, *more):
        (folder / name).symlink_to(shutil.which(name) or name)
    real = sys.executable if probe == "python3" else shutil.which(probe)
    (folder / probe).symlink_to(str(real))
    return str(folder)


def test_unknown_host(shell: str, home: Home, route: Route, needs: Callable[..., None]) -> None:
    needs("curl")
    endpoint = Endpoint("no-such-host.invalid", 8000, Token("t"))
    home.install(replace(route, endpoint=endpoint))
    done = home.run(shell, "source use-fable5.sh")
    assert "this machine knows no host no-such-host.invalid" in done.stderr


def test_neither_curl_nor_python(shell: str, home: Home, route: Route, tmp_path: Path) -> None:
    home.install(route)
    path = only_programs(tmp_path / "path", "true")
    done = home.run(shell, "source use-fable5.sh x", path=path)
    assert "the server was not checked" in done.stderr
    assert args_of(done.stdout)[-1] == "x"


def test_a_proxy_does_not_come_between(shell: str, home: Home, route: Route) -> None:
    home.install(route)
    proxy = "http://127.0.0.1:9"
    done = home.run(
        shell, "source use-fable5.sh x", http_proxy=proxy, HTTP_PROXY=proxy, NO_PROXY="a"
    )
    assert args_of(done.stdout)[-1] == "x", done.stderr
    assert env_of(done.stdout)["NO_PROXY"] == "a,127.0.0.1"
    assert env_of(done.stdout)["no_proxy"] == "127.0.0.1"


def test_claude_is_not_installed(shell: str, home: Home, route: Route, tmp_path: Path) -> None:
    home.install(route)
    (home.programs / "claude").unlink()
    done = home.run(
        shell, "source use-fable5.sh; echo status:$?", only_programs(tmp_path / "p", "curl")
    )
    assert "@anthropic-ai/claude-code@2.1.3" in done.stderr
    assert "status:127" in done.stdout


def test_a_token_file_that_cannot_be_read(shell: str, home: Home, route: Route) -> None:
    home.install(route)
    Path(home.layout.token(route)).unlink()
    assert "cannot be read" in home.run(shell, "source use-fable5.sh").stderr


def test_the_token_is_in_no_command_line(home: Home, route: Route, server: Server) -> None:
    """While the server lets the script wait, every process's command line is read."""
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc to see other processes' command lines")
    home.install(route)
    server.delay.clear()
    thread = threading.Thread(target=lambda: home.run("bash", "source use-fable5.sh"))
    thread.start()
    lines: set[bytes] = set()
    while thread.is_alive():  # until its two seconds of patience are over
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it has ended
                lines.add(file.read_bytes())
        time.sleep(0.05)
    server.delay.set()
    assert any(b"/v1/models" in line for line in lines), "the script was not caught at it"
    assert not any(b"geheimes-token" in line for line in lines)


def shellcheck(script: str, shell: str) -> str:
    """What shellcheck says of `script`, read as one for `shell`."""
    checker = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run(
        [checker, f"--shell={shell}", "--norc", "-"], input=script, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.fixture
def scripts(home: Home, route: Route, other: Route) -> list[str]:
    network = replace(route, endpoint=Endpoint("glm-host", 8000, Token("t"), tls=True))
    return [
        *(render.use_route(one, home.layout, "GO", "FIX").decode() for one in (route, network)),
        render.use_route(other, home.layout, "GO", "FIX").decode(),
        render.use_anthropic(home.layout, (route,)).decode(),
    ]


def test_shellcheck(scripts: list[str]) -> None:
    for script in scripts:
        assert shellcheck(script, "bash") == ""


#: What bash 3.2 (macOS) does not have, and shellcheck does not find in a script for dash.
NEWER_THAN_BASH_3_2 = {
    "&>>": r"&>",
    "local -n": r"\blocal\s+-",
    "%(...)T": r"%-?\d*\(",
    "${x@Q}": r"\$\{\w+@",
    ";& and ;;&": r";&",
    "newer names": r"\bSRANDOM\b|\bcompopt\b",
    "case in $(...), but for (pattern)": r"\$\([^()]*\bcase\b[^()]*\bin\b[^()]*\)",
}


def newer_than_bash_3_2(script: str) -> str:
    """What there is in `script` besides POSIX, `local` and BASH_SOURCE, which bash 3.2 all has."""
    for what, pattern in NEWER_THAN_BASH_3_2.items():
        if re.search(pattern, script):
            return what
    return shellcheck(script.replace("${BASH_SOURCE[0]:-}", "${0:-}"), "dash")


def test_nothing_newer_than_bash_3_2(scripts: list[str]) -> None:
    for script in scripts:
        assert newer_than_bash_3_2(script) == ""


@pytest.mark.parametrize(
    "line",
    [
        "declare -A x",
        "declare -g x=1",
        "declare -n x=PATH",
        "f() { local -n x=PATH; }; f",
        "f() { local -; set -f; }; f",
        'echo "${PATH^^}"',
        'echo "${PATH,,}"',
        'echo "${PATH@Q}"',
        'echo "${PATH:0:-1}"',
        'x=(1); echo "${x[-1]}"',
        'set -u; x=(); echo "${x[@]}"',
        "mapfile -t x",
        "readarray -t x",
        "ls |& cat",
        "ls &>> x",
        "coproc cat",
        "exec {fd}> x",
        'printf -v "x[0]" %s 1',
        "printf '%(%Y)T' -1",
        "wait -n",
        "case $PATH in a) ls ;& *) ls ;; esac",
        "case $PATH in a) ls ;;& *) ls ;; esac",
        'x="$(case $PATH in a) ls ;; esac)"; echo "$x"',
        "echo {01..03}",
        "echo {1..9..3}",
        "echo $'\\u00e9'",
        'echo "$EPOCHSECONDS"',
        'echo "$BASHPID"',
        'echo "$SRANDOM"',
        "test -v PATH",
        "[[ -v PATH ]]",
        "shopt -s globstar",
        "shopt -s lastpipe",
        "read -r -t 0.1 PATH",
        "read -r -i a PATH",
        "read -r -N 1 PATH",
    ],
)
def test_what_is_newer_than_bash_3_2_is_found(line: str) -> None:
    """Each of these fails in bash 3.2.57, or means something else there."""
    assert newer_than_bash_3_2(f"{line}\n") != ""


def test_scripts_hold_no_token(home: Home, route: Route) -> None:
    home.install(route)
    assert "geheimes" not in Path(home.layout.script(route)).read_text()
    assert os.access(home.layout.script(route), os.X_OK)
