"""What the doctor says of the servers of a machine, by what was seen of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeport import memory
from homeport.doctor import processes, servers
from homeport.doctor.answers import AT_WORK, IN_USE, Answers
from homeport.doctor.asking import Reply
from homeport.doctor.managers import Line, State
from homeport.doctor.metrics import Load
from homeport.doctor.processes import Listener, Process
from homeport.doctor.server_checks import AREA
from homeport.doctor.servers import Seen
from homeport.doctor.table import Area, Context, Report, Subject, Unknown, examine
from homeport.doctor.trials import Trials
from homeport.doctor.wanted import Service, Wanted, Weights

from .doctoring import SERVICE

NOW = 1_795_437_700.0
REVISION = "0123456789abcdef0123456789abcdef01234567"

LLAMA = replace(
    SERVICE,
    context=65_536,
    max_output=8_192,
    program="/home/anna/.homeport/env/e/bin/python",
    build=9000,
    needs=9 * 2**30,
)
GLM = replace(
    LLAMA,
    name="homeport.claude-glm",
    alias="claude-glm",
    engine="vllm",
    definition="/etc/systemd/system/homeport.claude-glm.service",
    url="http://glm-host:8000",
    bind="0.0.0.0",
    port=8000,
    context=262_144,
    start="sudo systemctl restart homeport.claude-glm.service",
    logs="sudo journalctl -u homeport.claude-glm -n 50",
    build=0,
    needs=None,
    tool_parser="glm47",
    reasoning_parser="glm45",
    gpus=8,
    weights=Weights("/w", "zai-org/GLM-5.2-FP8", REVISION, "d", 1),
)
ROUTER = replace(
    LLAMA, name="homeport.router", alias="router", engine="router", port=18088,
    names=("claude-glm", "claude-fable5"), needs=None, context=200_000,
)  # fmt: skip

LLAMA_WORDS = (
    "/home/anna/.homeport/env/e/bin/python", "/home/anna/.homeport/lib/serve_llama.py",
    "--model", f"/home/anna/.homeport/weights/x/{REVISION}/m.gguf", "--alias", "claude-fable5",
    "--host", "127.0.0.1", "--port", "18080", "--ctx-size", "65536", "--jinja", "--metrics",
)  # fmt: skip
GLM_WORDS = (
    "/var/lib/homeport/env/v/bin/python", "-m", "vllm.entrypoints.cli.main", "serve",
    f"/var/lib/homeport/weights/zai-org/GLM/{REVISION}", "--served-model-name", "claude-glm",
    "--host", "0.0.0.0", "--port", "8000", "--max-model-len", "262144", "--enable-prefix-caching",
    "--enable-auto-tool-choice", "--tool-call-parser", "glm47", "--reasoning-parser", "glm45",
)  # fmt: skip

GOOD = Trials(took=0.31, hits=1200, refused="")
IDLE = Load(running=0, waiting=0, cache_use=0.0, asked=0, hits=0, preempted=0)


def healthy(service: Service, words: tuple[str, ...], **more: Any) -> Seen:
    return Seen(
        service=service,
        manager="systemd",
        state=State("running", 4711),
        log=(),
        reply=Reply("answers", "{}", 200),
        answers=Answers(
            (service.alias, *service.names), service.context, loads=(IDLE,), tries=GOOD, **more
        ),
        tree=(Process(4711, 1, words, 3600.0, 1000, swapped=0),),
        listens=(Listener(service.bind, service.port, 1000, 4711),),
        memory=32 * 2**30,
        now=NOW,
    )


LAPTOP = replace(healthy(LLAMA, LLAMA_WORDS), build=11549)
GPU = replace(healthy(GLM, GLM_WORDS, version="0.32.0"), manager="systemd (system)")
SWITCH = replace(
    healthy(ROUTER, ("haproxy", "-db")), answers=Answers(("claude-glm", "claude-fable5"))
)


def found(seen: Seen) -> Report:
    """What the area finds where this is seen."""
    values = servers._values(seen)
    there = Area("servers", lambda _: [Subject(seen.service.alias, seen, values)], AREA.checks,
                 AREA.healthy, AREA.untried, AREA.facts)  # fmt: skip
    wanted = Wanted("0.1", "/home/anna", "/home/anna/.homeport", seen.manager, "o", "d")
    return examine([there], Context(wanted, {}, Path("/")))


def without_answer(seen: Seen, state: State, reply: Reply, *said: str, **more: Any) -> Seen:
    """The same that does not answer; it last said these lines, "systemd: " before its manager's."""
    log = tuple(
        Line(line.removeprefix("systemd: "), NOW - 60, not line.startswith("systemd: "))
        for line in said
    )
    running = state.phase == "running"
    return replace(
        seen, state=state, reply=reply, answers=None, log=log, listens=(),
        tree=seen.tree if running else (), **more,
    )  # fmt: skip


REFUSED = Reply("refused", "connection refused")
STARTED_AGAIN = "systemd: homeport.x.service: Scheduled restart job, restart counter is at 5."


def trial(seen: Seen, **changed: Any) -> Seen:
    assert seen.answers
    return replace(seen, answers=replace(seen.answers, tries=replace(GOOD, **changed)))


def load(seen: Seen, *loads: Load) -> Seen:
    assert seen.answers
    return replace(seen, answers=replace(seen.answers, loads=loads))


def argv(seen: Seen, *more: str, without: tuple[str, ...] = ()) -> Seen:
    words = tuple(word for word in seen.tree[0].words if word not in without)
    return replace(seen, tree=(replace(seen.tree[0], words=(*words, *more)),))


def served(seen: Seen, *names: str, **changed: Any) -> Seen:
    assert seen.answers
    return replace(seen, answers=replace(seen.answers, names=names, **changed))


def wanted(seen: Seen, **changed: Any) -> Seen:
    return replace(seen, service=replace(seen.service, **changed))


def failed(seen: Seen, *said: str, **more: Any) -> Seen:
    return without_answer(seen, State("failed", failure="it ended with status 1"), REFUSED, *said,
                          **more)  # fmt: skip


BUSY = Load(running=40, waiting=12, cache_use=0.97, asked=9_000_000, hits=8_000_000, preempted=3)
KERNEL = "systemd: Out of memory: Killed process 812 (python) total-vm:31882212kB"
OWN_KILL = Line("Out of memory: Killed process 812 (python) total-vm:31882212kB", NOW, False)

#: What is seen, the check that finds it, and a part of what that says, its cause or its fix.
CASES: dict[str, tuple[Seen, str, str]] = {
    "nothing defines it": (
        without_answer(LAPTOP, State("missing"), REFUSED), "service-missing",
        "it writes /home/anna/.config/systemd/user/homeport.claude-fable5.service anew",
    ),
    "masked": (
        without_answer(LAPTOP, State("masked"), REFUSED), "service-masked",
        "systemctl --user unmask homeport.claude-fable5 && systemctl --user restart ",
    ),
    "stopped": (
        without_answer(LAPTOP, State("stopped"), REFUSED), "service-stopped", "somebody stopped it",
    ),
    "stopped and disabled": (
        without_answer(LAPTOP, State("stopped", at_boot=False), REFUSED), "service-stopped",
        "systemctl --user enable --now homeport.claude-fable5",
    ),
    "unloaded on a Mac": (
        replace(without_answer(LAPTOP, State("unloaded"), REFUSED), manager="launchd"),
        "service-stopped", "launchctl bootstrap gui/$(id -u) /home/anna/.config/",
    ),
    "disabled, and runs": (
        replace(LAPTOP, state=State("running", 4711, at_boot=False)), "service-not-at-boot",
        "will not after the next boot",
    ),
    "no lingering": (
        replace(LAPTOP, state=State("running", 4711, lingers=False)), "service-ends-with-login",
        "loginctl enable-linger",
    ),
    "another program": (
        without_answer(LAPTOP, State("restarting"), Reply("answers"),
                       others=("python3 -m http.server (process 77)",)),
        "port-taken", "python3 -m http.server (process 77)",
    ),
    "another user's server that answers to the same name": (
        replace(LAPTOP, listens=(), others=("a process of ben",)), "port-taken", "a process of ben",
    ),
    "killed by its control group": (
        without_answer(LAPTOP, State("restarting", failure="oom-kill"), REFUSED),
        "server-out-of-memory", "ran out of memory",
    ),
    "killed by the kernel": (
        failed(LAPTOP, "loading", KERNEL), "server-out-of-memory", "(python) total-vm:31882212kB",
    ),
    "too old for the architecture": (
        failed(LAPTOP, "error loading model: unknown model architecture: 'gemma4'"),
        "llama-cpp-too-old", "too old for the model's architecture, gemma4",
    ),
    "crashed, and nobody knows why": (
        failed(LAPTOP, "abort trap"), "server-crashed", "abort trap",
    ),
    "crashed for its GPUs' memory": (
        failed(GPU, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB."),
        "server-crashed", "the GPUs ran out of memory",
    ),
    "crashed for others on its GPUs": (
        failed(GPU, "ValueError: Free memory on device cuda:0 (3.2/79.1 GiB) on startup is less"),
        "server-crashed", "the GPUs are not free",
    ),
    "crashed four times, and given up": (
        replace(failed(GPU, "ModuleNotFoundError: No module named 'vllm._C'"),
                state=State("failed", failure="start-limit-hit", limited=True)),
        "server-crashed", "sudo systemctl reset-failed homeport.claude-glm; sudo systemctl restart",
    ),
    "given up by supervisord": (
        replace(failed(LAPTOP, "abort trap"), manager="supervisord",
                state=State("failed", failure="exit status 1", limited=True)),
        "server-crashed", "kill $(cat /home/anna/.config/",
    ),
    "crashes again and again": (
        without_answer(LAPTOP, State("running", 4711), REFUSED,
                       "error: invalid argument: --no-mmap", STARTED_AGAIN, STARTED_AGAIN),
        "server-crashed", "started again 2 times in 10 minutes",
    ),
    "crashed, with a journal for root only": (
        replace(failed(GPU), log=Unknown("its journal is not for this user to read")),
        "server-crashed", "its journal is not for this user to read",
    ),
    "waits for mains": (
        without_answer(LAPTOP, State("running", 4711), REFUSED,
                       "homeport: waits for mains power (on_battery = False)"),
        "waits-for-mains", "plug in the power",
    ),
    "loading": (
        without_answer(GPU, State("running", 4711), REFUSED,
                       "Loading safetensors checkpoint shards:  43% Completed | 3/7 [00:10<00:20]"),
        "server-loading", "still loading: loading weights, 43 % (3/7 files), for 1:00:00",
    ),
    "loading, as llama.cpp says": (
        without_answer(LAPTOP, State("running", 4711), Reply("loading", "Loading model", 503),
                       "0.00.009.205 I srv    load_model: loading model 'm.gguf'"),
        "server-loading", "still loading: loading weights",
    ),
    "another port in its definition": (
        argv(without_answer(GPU, State("running", 4711), REFUSED), "--port", "8001"),
        "listens-elsewhere", "listens on port 8001, and not on port 8000",
    ),
    "another address": (
        replace(without_answer(LAPTOP, State("running", 4711), REFUSED),
                listens=(Listener("10.0.0.7", 18080, 1000, 4711),)),
        "listens-elsewhere", "10.0.0.7 port 18080",
    ),
    "loopback only": (
        replace(GPU, listens=(Listener("127.0.0.1", 8000, 1000, 4711),)), "loopback-only",
        "listens on 127.0.0.1 only: other machines are refused",
    ),
    "open": (
        replace(LAPTOP, listens=(Listener("0.0.0.0", 18080, 1000, 4711),)), "open-to-network",
        "other machines can use it",
    ),
    "another token": (
        replace(GPU, reply=Reply("token", "Unauthorized", 401), answers=None), "other-token",
        "refuses its own token",
    ),
    "halted": (
        replace(LAPTOP, reply=Reply("silent"), answers=None,
                tree=(replace(LAPTOP.tree[0], halted=True),)),
        "server-hangs", "kill -CONT 4711",
    ),
    "hangs": (
        replace(LAPTOP, reply=Reply("silent"), answers=None), "server-hangs", "and says nothing",
    ),
    "broken": (
        replace(GPU, answers=None, reply=Reply("fails", '{"error": "EngineDead"}', 500)),
        "server-fails", "500: EngineDead",
    ),
    "started again, and answers": (
        replace(LAPTOP, log=(Line("", NOW - 9, False),) + 3 * (
            Line("x.service: Scheduled restart job, restart counter is at 1.", NOW - 60, False),)),
        "server-restarts", "ended 3 times in 10 minutes",
    ),
    "a look-alike": (
        served(GPU, "claude\u2010glm"), "name-similar",
        'character 7 is "-", U+002D HYPHEN-MINUS where it is asked for, and U+2010 HYPHEN',
    ),
    "upper case": (served(GPU, "Claude-GLM"), "name-similar", "U+0043 LATIN CAPITAL LETTER C"),
    "a blank": (served(GPU, "claude-glm "), "name-similar", "U+0020 SPACE"),
    "another model": (served(GPU, "qwen3-coder"), "name-missing", "but qwen3-coder"),
    "a router without one of its routes": (
        served(SWITCH, "claude-fable5"), "name-missing", "claude-glm is not served",
    ),
    "a smaller context": (
        served(GPU, "claude-glm", context=131_072), "context-smaller",
        "claude-glm holds 131,072 tokens, and its clients are told 262,144",
    ),
    "a context that is too small to work in": (
        served(wanted(LAPTOP, context=16_384), "claude-fable5", context=16_384), "context-small",
        "of which the client's first request takes 13,239",
    ),
    "late": (
        trial(LAPTOP, took=Unknown("it does not answer one token within 10 s")), "answers-late",
        "does not answer one token in time",
    ),
    "prefix caching off": (
        argv(trial(GPU, hits=0), "--no-enable-prefix-caching"), "prefix-cache-off",
        "it was started with --no-enable-prefix-caching",
    ),
    "prefix cache misses": (trial(GPU, hits=0), "prefix-cache-missed", "no option has it off"),
    "a busy one's misses": (
        load(trial(GPU, hits=Unknown("busy"), took=0.1), replace(BUSY, hits=0, waiting=0)),
        "prefix-cache-missed", "no option has it off",
    ),
    "replicas behind one name": (
        replace(GPU, addresses=("10.0.0.1", "10.0.0.2")), "replicas-by-name", "10.0.0.2",
    ),
    "replicas without affinity": (
        trial(wanted(GPU, replicas=2), scattered=True), "replicas-scattered",
        "sends one session to several replicas",
    ),
    "a full cache": (load(GPU, BUSY, BUSY, replace(BUSY, cache_use=0.93)), "cache-full", "93 %"),
    "requests that wait": (load(GPU, BUSY, BUSY), "requests-wait", "12 requests wait"),
    "preempted": (
        load(GPU, BUSY, replace(BUSY, preempted=8)), "requests-preempted", "put off 5 requests",
    ),
    "swapped": (
        replace(LAPTOP, tree=(replace(LAPTOP.tree[0], swapped=3 * 10**9),)), "server-swapped",
        "3.0 GB of claude-fable5 are swapped out",
    ),
    "too large": (
        replace(LAPTOP, memory=8 * 2**30), "larger-than-memory",
        "needs 9.7 GB, and the machine has 8.6 GB for models",
    ),
    "no auto tool choice": (
        argv(GPU, without=("--enable-auto-tool-choice",)), "tools-not-chosen",
        "without --enable-auto-tool-choice",
    ),
    "no tool parser": (
        argv(GPU, without=("--tool-call-parser", "glm47")), "tool-parser",
        "with no --tool-call-parser, where its model needs glm47",
    ),
    "another tool parser": (
        argv(GPU, "--tool-call-parser=hermes"), "tool-parser", "with --tool-call-parser hermes",
    ),
    "another reasoning parser": (
        argv(GPU, "--reasoning-parser", "qwen3"), "reasoning-parser", "--reasoning-parser qwen3",
    ),
    "no template": (
        replace(argv(LAPTOP, without=("--jinja",)), build=7000),
        "template-off", "without --jinja",
    ),
    "old llama.cpp": (
        replace(LAPTOP, build=8123), "build-old",
        "runs on llama.cpp b8123, and its model needs b9000",
    ),
    "an error at every question": (
        trial(LAPTOP, took=Unknown("it answers 500: x"), failed="500: x"), "question-fails",
        "with an error: 500: x",
    ),
    "late system messages": (
        trial(LAPTOP, refused="400: Conversation roles must alternate"), "late-system",
        "Conversation roles must alternate",
    ),
    "no tool call": (
        trial(GPU, tool="it answers in words"), "tool-not-called", "it answers in words",
    ),
    "an old revision": (
        wanted(GPU, weights=Weights("/w", "zai-org/GLM-5.2-FP8", "f" * 40, "d", 1)), "revision-old",
        "serves revision 0123456789ab of its weights, and not ffffffffffff",
    ),
}  # fmt: skip


#: What one cause shows in several ways.
TOGETHER = {
    "template-off": {"build-old"},
    "requests-wait": {"cache-full"},
    "cache-full": {"requests-wait"},
    "requests-preempted": {"requests-wait", "cache-full"},
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_found(case: str) -> None:
    seen, check, part = CASES[case]
    report = found(seen)
    said = {one.check: one for one in report.findings}
    assert check in said, report
    finding = said[check]
    assert part in f"{finding.symptom} {finding.cause} {finding.fix} {finding.detail}"
    assert report.healthy == ()
    assert set(said) - {check} <= TOGETHER.get(check, set())


def test_every_check_is_shown_to_find() -> None:
    assert {check for _, check, _ in CASES.values()} == {one.name for one in AREA.checks}


@pytest.mark.parametrize(
    ("seen", "said", "facts"),
    [
        (
            LAPTOP,
            "claude-fable5 answers at http://127.0.0.1:18080 in 0.31 s",
            {"engine": "llama.cpp b11549", "weights": REVISION[:12], "context": "65536"},
        ),
        (
            GPU,
            "claude-glm answers at http://glm-host:8000 in 0.31 s",
            {"engine": "vllm 0.32.0", "weights": REVISION[:12], "context": "262144"},
        ),
        (SWITCH, "router runs", {}),
    ],
)
def test_what_is_as_it_should_be(seen: Seen, said: str, facts: dict[str, str]) -> None:
    report = found(seen)
    assert report.is_healthy, report
    assert report.healthy == (said,)
    assert report.facts == ({seen.service.alias: facts} if facts else {})


def test_causes_are_the_same_words_on_every_machine() -> None:
    """A fleet is grouped by them; options and models have names with digits, and no more."""
    for seen, check, _ in CASES.values():
        (finding,) = [one for one in found(seen).findings if one.check == check]
        assert "/" not in finding.cause.replace("and/or", ""), finding.cause
        assert "GiB" not in finding.cause


def untried(seen: Seen, why: str, *loads: Load) -> Seen:
    assert seen.answers
    return replace(seen, answers=replace(seen.answers, tries=None, untried=why, loads=loads))


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (
            untried(GPU, AT_WORK, replace(BUSY, waiting=0, cache_use=0.5)),
            f"claude-glm is up at http://glm-host:8000 ({AT_WORK})",
        ),
        (
            untried(LAPTOP, AT_WORK, Load(running=1, waiting=0, asked=13_239, hits=0)),
            f"claude-fable5 is up at http://127.0.0.1:18080 ({AT_WORK})",
        ),
        (
            untried(LAPTOP, AT_WORK, *3 * [Load(running=1, waiting=2)]),
            f"claude-fable5 is up at http://127.0.0.1:18080 ({AT_WORK})",
        ),
        (
            untried(LAPTOP, IN_USE, Load(running=0, waiting=0, asked=400_000, hits=350_000)),
            f"claude-fable5 is up at http://127.0.0.1:18080 ({IN_USE})",
        ),
    ],
)
def test_a_server_that_serves_its_user_is_healthy(seen: Seen, said: str) -> None:
    report = found(seen)
    assert report.is_healthy, report
    assert report.healthy == (said,)


def test_what_a_server_at_work_does_not_tell_of_its_cache_is_no_finding() -> None:
    """Its answers do not say it, and what it counts is others', too."""
    seen = trial(GPU, hits=Unknown("it does not say"))
    assert found(load(seen, Load(running=3, waiting=0))).is_healthy
    assert not found(load(seen, Load(running=0, waiting=0))).is_healthy


def test_a_cache_that_misses_is_found_by_what_is_counted() -> None:
    missed = Load(running=0, waiting=0, asked=400_000, hits=900)
    (finding,) = found(untried(LAPTOP, IN_USE, missed)).findings
    assert finding.check == "prefix-cache-missed"
    assert "a sliding window without a saved state" in finding.cause
    assert found(untried(LAPTOP, IN_USE, replace(missed, asked=100_000))).is_healthy, "too few yet"


def test_one_that_is_late_on_gpus_has_a_fix_of_its_own() -> None:
    (finding,) = found(
        trial(GPU, took=Unknown("it does not answer one token within 10 s"))
    ).findings
    assert finding.check == "answers-late"
    assert finding.fix.startswith("nvidia-smi; read sudo journalctl")


@pytest.mark.parametrize("gib", [8, 16, 32, 36, 64])
def test_what_models_may_take_is_what_homeport_gives_them(gib: int) -> None:
    total = gib * 2**30
    for kind in (memory.Kind.RAM, memory.Kind.UNIFIED):
        limit = memory.Memory(kind, total, total).limit
        is_unified = kind is memory.Kind.UNIFIED
        assert processes.share_for_models(total - 2**29, is_unified) == limit


def test_a_graphics_card_has_memory_of_its_own() -> None:
    assert found(replace(LAPTOP, memory=0)).is_healthy


def test_what_cannot_be_looked_at_never_passes() -> None:
    blind = replace(
        LAPTOP,
        state=Unknown("no bus"),
        reply=Unknown("no token"),
        answers=None,
        tree=(),
        listens=(),
    )
    report = found(blind)
    assert report.findings == ()
    missed = {name for one in report.unchecked for name in one.checks}
    assert {"service-stopped", "server-crashed", "server-loading", "service-not-at-boot"} <= missed


@pytest.mark.parametrize("state", [Unknown("no bus"), State("running", 5)])
def test_who_has_the_port_is_not_guessed(state: State | Unknown) -> None:
    """Its own process is not seen, so who listens may be it."""
    unseen = replace(LAPTOP, state=state, tree=(), listens=(), others=("python3 (process 5)",))
    report = found(unseen)
    assert "port-taken" not in [one.check for one in report.findings]
    assert "port-taken" in [name for one in report.unchecked for name in one.checks]


def test_how_far_it_is_is_of_this_start() -> None:
    log = (
        Line("INFO Using cache directory: /x for vLLM's torch.compile", NOW - 90),
        Line("INFO Starting to load model /w...", NOW - 5),
    )
    seen = replace(without_answer(GPU, State("running", 4711), REFUSED), log=log[:1])
    seen = replace(seen, tree=(replace(seen.tree[0], age=10),))
    said = [one.symptom for one in found(seen).findings]
    assert said == ["claude-glm is still loading: starting, for 0:00:10"]
    said = [one.symptom for one in found(replace(seen, log=log)).findings]
    assert said == ["claude-glm is still loading: loading weights, for 0:00:10"]


def test_a_host_that_only_helps_is_not_asked() -> None:
    helper = replace(wanted(GPU, answers=False), reply=None, answers=None, listens=())
    assert found(helper).is_healthy
    dead = replace(helper, state=State("failed", failure="signal"), tree=())
    assert [one.check for one in found(dead).findings] == ["server-crashed"]
