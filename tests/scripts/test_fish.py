"""The use-scripts' functions in real fish: what they start, what they say, what they leave."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from homeport import claude_code
from homeport.model import Route

from .conftest import Home, Server
from .test_use_scripts import SENTENCES, args_of, env_of, only_programs, states


@pytest.fixture(autouse=True)
def fish(needs: Callable[..., None], home: Home, route: Route, server: Server) -> None:
    needs("fish")
    server.served = ["claude-fable5", "claude-other"]
    home.install(route)


#: Prints what there is of a route's in every scope, exported or not; then what is universal of it.
SHOW = r"""
function show
    set -l ours '^\$?(?:ANTHROPIC|CLAUDE|NO_PROXY|no_proxy|MINE|HOMEPORT|_homeport)'
    set --show | string match --entire --regex $ours
    echo universal:
    set -U | string match --entire --regex $ours
    functions claude | string match --invert '# Defined*'
end
"""


def test_the_shell_stays_on_the_route(home: Home, route: Route, server: Server) -> None:
    done = home.run(
        "fish",
        """
        cd /; use-fable5 -p "a  b" '$x'; echo "status:$status"
        echo in | claude two; claude --settings=x three; use-anthropic 2>/dev/null; claude four
        """,
    )
    ours = ["--settings", home.layout.route_settings(route)]
    assert args_of(done.stdout) == [*ours, "-p", "a  b", "$x", *ours, "two", "four"]
    assert "status:7" in done.stdout
    first, *_ = done.stdout.split("status:")
    expected = claude_code.environment(route)
    assert {name: env_of(first).get(name) for name in expected} == expected
    assert server.token == "Bearer geheimes-token-123"
    assert done.stderr.startswith("homeport: claude-fable5: --settings would take the place")
    assert done.stderr.count("\n") == 1, done.stderr


MINE = {
    "nothing": "",
    "variables": """
        set -gx ANTHROPIC_API_KEY sk-ant-mine; set -gx ANTHROPIC_MODEL 'a  "b" $c'
        set -g CLAUDE_CODE_SIMPLE not-exported; set -gx NO_PROXY example.com; set -g MINE 1
        set -gx ANTHROPIC_AUTH_TOKEN; set -gx no_proxy a b; set -gx ANTHROPIC_BASE_URL ''
    """,
    "universal variables": """
        set -Ux ANTHROPIC_API_KEY sk-ant-mine; set -U ANTHROPIC_MODEL opus; set -Ux NO_PROXY a,b
        set -U CLAUDE_CODE_SIMPLE 1; set -g CLAUDE_CODE_SIMPLE 2; set -gx no_proxy 127.0.0.1
    """,
    "a function": "function claude --description mine; command claude --mine $argv; end",
    "an alias": "alias claude='claude --mine'",
}


@pytest.mark.parametrize("mine", MINE)
def test_there_and_back_again(mine: str, home: Home, route: Route, other: Route) -> None:
    home.install(other)
    there = "use-fable5; use-other; use-other; use-fable5"
    done = home.run(
        "fish",
        f"""
        {SHOW}
        {MINE[mine]}
        show > before
        begin; {there}; end > there
        show > meanwhile
        use-anthropic
        show > after
        """,
    )
    before, meanwhile, after = (
        (home.path / name).read_text() for name in ("before", "meanwhile", "after")
    )
    assert after == before
    assert "sk-ant-mine" not in (home.path / "there").read_text()
    assert "$ANTHROPIC_MODEL: set in global scope, exported" in meanwhile
    universal = re.search(r"^universal:\n((NO|no|AN|CLAUDE).*\n)*", before, re.MULTILINE)
    assert universal and universal[0] in meanwhile
    assert ("sk-ant-mine" in universal[0]) == (mine == "universal variables")
    assert done.stderr.startswith("homeport: back to Anthropic."), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    own = ["--mine"] if mine in ("a function", "an alias") else []
    routes = [home.layout.route_settings(one) for one in (route, other, other, route)]
    expected = [word for one in routes for word in (*own, "--settings", one)]
    assert args_of((home.path / "there").read_text()) == expected


def test_a_universal_variable_is_the_same_in_every_other_shell(home: Home) -> None:
    home.run("fish", "set -Ux ANTHROPIC_API_KEY sk-ant-mine")
    print_it = "fish -c 'set -eg ANTHROPIC_API_KEY; echo \"<$ANTHROPIC_API_KEY>\"'"
    done = home.run("fish", f"use-fable5 >/dev/null; {print_it}; use-anthropic; {print_it}")
    assert done.stdout == "<sk-ant-mine>\n" * 2, done.stderr


def test_a_function_of_the_users_own_that_fish_loads(home: Home, route: Route) -> None:
    folder = home.path / ".config/fish/functions"
    folder.mkdir()
    (folder / "claude.fish").write_text("function claude; command claude --mine $argv; end\n")
    done = home.run("fish", "use-fable5 one; use-anthropic 2>/dev/null; claude two")
    settings = home.layout.route_settings(route)
    assert args_of(done.stdout) == ["--mine", "--settings", settings, "one", "--mine", "two"]


@pytest.mark.parametrize("before", ["corp.example", "127.0.0.1", "a,127.0.0.1", ""])
def test_in_a_shell_started_from_it(before: str, home: Home, other: Route) -> None:
    home.install(other)
    for inner in ("use-other >/dev/null; use-anthropic", "use-anthropic"):
        show = 'printf "<%s>" "$NO_PROXY"; env | sed s/^/env:/'
        script = f"use-fable5 >/dev/null; fish -c '{inner}; {show}'"
        done = home.run("fish", script, NO_PROXY=before)
        assert f"<{before}>" in done.stdout, done.stderr
        env = env_of(done.stdout)
        assert not [name for name in env if name.startswith(("ANTHROPIC", "CLAUDE", "HOMEPORT"))]


@pytest.mark.parametrize("inner", ["bash", "zsh"])
def test_another_shell_in_it_has_the_way_back(inner: str, home: Home) -> None:
    back = "source use-anthropic.sh; env | sed s/^/env:/"
    done = home.run("fish", f"use-fable5 >/dev/null; {inner} -c '{back}'", NO_PROXY="a")
    env = env_of(done.stdout)
    assert env["NO_PROXY"] == "a"
    assert not [name for name in env if name.startswith(("ANTHROPIC", "CLAUDE", "HOMEPORT"))]


@pytest.mark.parametrize("inner", ["bash", "zsh"])
def test_it_is_the_way_back_from_another_shells_route(inner: str, home: Home) -> None:
    back = "use-anthropic; env | sed s/^/env:/"
    script = f"source use-fable5.sh >/dev/null; fish -c '{back}'"
    done = home.run(inner, script, NO_PROXY="a", LANG="C.UTF-8")
    env = env_of(done.stdout)
    assert env["NO_PROXY"] == "a"
    assert not [name for name in env if name.startswith(("ANTHROPIC", "CLAUDE", "HOMEPORT"))]


@pytest.mark.parametrize("probe", ["curl", "python3"])
@pytest.mark.parametrize("state", SENTENCES)
def test_nothing_is_changed_where_the_server_cannot_be_used(
    state: str, probe: str, home: Home, server: Server, tmp_path: Path, needs: Callable[..., None]
) -> None:
    needs(probe)
    port = server.port
    states(server)[state]()
    path = only_programs(tmp_path / "path", probe, "fish")
    script = f"{SHOW}; show > before; use-fable5; echo status:$status; show > after"
    done = home.run("fish", script, path=path)
    assert done.stdout == "status:1\n"
    assert done.stderr.startswith("homeport: claude-fable5: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert SENTENCES[state].format(port=port) in done.stderr
    assert (home.path / "after").read_text() == (home.path / "before").read_text()


def test_a_dead_server_leaves_the_route_that_is_active(
    home: Home, other: Route, server: Server
) -> None:
    home.install(other)
    server.served = ["claude-fable5"]
    done = home.run("fish", "use-fable5 >/dev/null; use-other; echo $status $HOMEPORT_ROUTE")
    assert done.stdout == "1 claude-fable5\n"


@pytest.mark.parametrize("words", ["--settings x", "--settings=x", "-p hi --settings x"])
def test_other_settings_are_refused(home: Home, words: str) -> None:
    done = home.run("fish", f"use-fable5 {words}; echo $status; env")
    assert done.stdout.startswith("1\n")
    assert "--settings would take the place of the route's own" in done.stderr
    assert "HOMEPORT_ROUTE" not in done.stdout


def test_claude_is_not_installed(home: Home, tmp_path: Path) -> None:
    (home.programs / "claude").unlink()
    path = only_programs(tmp_path / "path", "curl", "fish")
    done = home.run("fish", "use-fable5; echo $status; env", path)
    assert done.stdout.startswith("127\n")
    assert "@anthropic-ai/claude-code@2.1.3" in done.stderr
    assert "HOMEPORT_ROUTE" not in done.stdout


def test_claude_is_a_function_alone(home: Home, route: Route, tmp_path: Path) -> None:
    """As the client's own installer makes one, which is then the only way to it."""
    (home.programs / "claude").rename(home.path / "local-claude")
    path = only_programs(tmp_path / "path", "curl", "fish")
    done = home.run("fish", "alias claude='~/local-claude --mine'; use-fable5 one", path)
    settings = home.layout.route_settings(route)
    assert args_of(done.stdout) == ["--mine", "--settings", settings, "one"], done.stderr


def test_way_back_after_exports_by_hand_keeps_the_key(home: Home) -> None:
    done = home.run(
        "fish",
        "use-anthropic; env | sed 's/^/env:/'",
        ANTHROPIC_BASE_URL="http://elsewhere",
        ANTHROPIC_AUTH_TOKEN="dummy",
        ANTHROPIC_API_KEY="sk-ant-mine",
    )
    env = env_of(done.stdout)
    assert [name for name in env if name.startswith("ANTHROPIC")] == ["ANTHROPIC_API_KEY"]
    assert env["ANTHROPIC_API_KEY"] == "sk-ant-mine"


def test_way_back_without_a_route_changes_nothing(home: Home) -> None:
    done = home.run("fish", "use-anthropic; env | sed 's/^/env:/'", ANTHROPIC_MODEL="opus")
    assert env_of(done.stdout)["ANTHROPIC_MODEL"] == "opus"


def test_way_back_warns_of_what_beats_it(home: Home) -> None:
    home.run("fish", "set -Ux ANTHROPIC_BASE_URL http://x")
    (home.path / ".claude").mkdir()
    settings = '{"env": {"ANTHROPIC_BASE_URL": "http://x"}, "model": "claude-fable5"}'
    (home.path / ".claude/settings.json").write_text(settings)
    said = home.run("fish", "use-anthropic").stderr
    assert "To reach Anthropic: set -eU ANTHROPIC_BASE_URL" in said
    assert "beats this shell" in said
    assert "picked in /model" in said


def test_an_endpoint_on_the_network(home: Home, route: Route) -> None:
    home.install(replace(route, endpoint=replace(route.endpoint, host="no-such-host.invalid")))
    assert "knows no host no-such-host.invalid" in home.run("fish", "use-fable5").stderr


def test_the_functions_hold_no_token_and_are_correct(home: Home, other: Route) -> None:
    home.install(other)
    for file in Path(home.layout.fish).iterdir():
        assert "geheimes" not in file.read_text()
        done = subprocess.run(["fish", "--no-execute", file], capture_output=True, text=True)
        assert done.stderr == "" and done.returncode == 0
        done = subprocess.run(["fish_indent", "--check", file], capture_output=True, text=True)
        assert done.returncode == 0, file
