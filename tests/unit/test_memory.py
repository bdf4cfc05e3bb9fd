"""Which quant and which context: never more than fits, never less than could be had."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeport import fitting
from homeport.catalog import MODELS
from homeport.errors import SettingsError
from homeport.memory import Choice, Kind, Memory, best, pinned, whole_gib
from homeport.settings import HostData, HostSettings, of
from homeport.weights import HubWeights

GEMMA = MODELS["gemma-4-12b-coder"]
assert GEMMA.laptop and GEMMA.laptop.footprint
QUANTS, FOOTPRINT = GEMMA.laptop.quants, GEMMA.laptop.footprint
CONTEXTS = GEMMA.laptop.contexts
GIB = 2**30


def memory(kind: Kind, gib: float, ram: float | None = None) -> Memory:
    return Memory(kind, int(gib * GIB), int((ram or gib) * GIB))


MEMORIES = st.builds(
    memory, kind=st.sampled_from(Kind), gib=st.floats(1, 256), ram=st.floats(4, 256)
)
SOME_QUANTS = st.lists(st.sampled_from(QUANTS), min_size=1, unique=True)
SOME_CONTEXTS = st.lists(st.integers(65_536, 262_144), min_size=1, max_size=3, unique=True).map(
    tuple
)


def choose(*memories: Memory, **changes: Any) -> Choice | None:
    wanted = {"quants": QUANTS, "contexts": CONTEXTS, **changes}
    return best(wanted["quants"], wanted["contexts"], FOOTPRINT, memories)


@pytest.mark.parametrize(
    ("context", "mib"),
    [(16_384, 391), (32_768, 527), (65_536, 799), (131_072, 1343), (262_144, 2431)],
)
def test_the_cache_is_what_llama_cpp_takes(context: int, mib: int) -> None:
    assert round(FOOTPRINT.cache(context) / 2**20) == mib


@given(MEMORIES, SOME_QUANTS, SOME_CONTEXTS)
def test_never_over_the_budget_and_never_smaller_than_fits(
    memory: Memory, quants: list[Any], contexts: tuple[int, ...]
) -> None:
    found = choose(memory, quants=quants, contexts=contexts)
    fitting = [one for one in quants if Choice(one, min(contexts), memory, FOOTPRINT).fits]
    assert (found is None) == (not fitting)
    if found:
        assert found.needed <= memory.budget <= memory.limit <= memory.total
        assert found.quant.size == max(one.size for one in fitting)
        assert found.context in contexts
        larger = [one for one in contexts if one > found.context]
        if found.quant.size == max(one.size for one in quants):
            assert not any(Choice(found.quant, one, memory, FOOTPRINT).fits for one in larger)
        else:
            assert found.context == min(contexts), "a better quant is wanted first"


@given(MEMORIES, MEMORIES)
def test_more_memory_is_never_less(one: Memory, other: Memory) -> None:
    small, large = sorted((one.total, other.total))
    found = [choose(Memory(Kind.UNIFIED, total, total)) for total in (small, large)]
    sizes = [(one.quant.size, one.context) if one else (0, 0) for one in found]
    assert sizes[0] <= sizes[1]


@pytest.mark.parametrize(
    ("memories", "quant", "context"),
    [
        ([memory(Kind.UNIFIED, 8)], None, 0),
        ([memory(Kind.RAM, 12)], "Q2_K", 65_536),
        ([memory(Kind.RAM, 14)], "Q3_K_M", 65_536),
        ([memory(Kind.UNIFIED, 16)], "Q4_K_M", 65_536),
        ([Memory(Kind.RAM, whole_gib(16_200_000 * 1024), GIB)], "Q4_K_M", 65_536),
        ([memory(Kind.UNIFIED, 24)], "Q6_K", 65_536),
        ([memory(Kind.UNIFIED, 32)], "Q8_0", 131_072),
        ([memory(Kind.CARD, 8, 16), memory(Kind.RAM, 16)], "Q3_K_M", 65_536),
        ([memory(Kind.CARD, 12, 32), memory(Kind.RAM, 32)], "Q6_K", 65_536),
        ([memory(Kind.CARD, 4, 32), memory(Kind.RAM, 32)], "Q8_0", 131_072),
    ],
)
def test_the_machines_that_people_have(
    memories: list[Memory], quant: str | None, context: int
) -> None:
    found = choose(*memories)
    assert (found and found.quant.name, found.context if found else 0) == (quant, context)


def test_the_sum_is_printed() -> None:
    assert str(choose(memory(Kind.UNIFIED, 24))) == (
        "25.77 GB (24 GiB) unified memory: Q6_K 9.79 GB + KV 0.84 GB at 65,536 tokens + buffers "
        "1.82 GB -> fits, 13.32 GB free"
    )


def test_a_pinned_quant_has_to_work_and_need_not_be_pleasant() -> None:
    q6, mac = QUANTS[3], memory(Kind.UNIFIED, 18)
    assert choose(mac) != (found := pinned(q6, CONTEXTS, FOOTPRINT, (mac,)))
    assert (found.quant, found.works, found.fits) == (q6, True, False)
    assert str(found).endswith(
        "buffers 1.62 GB -> 12.24 GB, and 11.21 GB are for the model with others beside it"
    )
    with pytest.raises(
        SettingsError, match=r"quant is 'Q8_0': it does not fit 19\.33 GB \(18 GiB\)"
    ):
        pinned(QUANTS[4], CONTEXTS, FOOTPRINT, (mac,))


ROUTES = {
    "claude-glm": {
        "model": "glm-5.2-fp8",
        "host": "glm-host",
        "port": 8000,
        "open_to_network": True,
    },
    "claude-fable5": {"model": "gemma-4-12b-coder", "host": "localhost", "port": 18080},
}


def laptop(route: dict[str, Any] | None = None, **values: Any) -> HostSettings:
    routes = {**ROUTES, "claude-fable5": {**ROUTES["claude-fable5"], **(route or {})}}
    data = {"routes": routes, "serve": ["claude-fable5"], "guardrails": {}, **values}
    groups = ("laptops", "workstations")
    return of(HostData("box", groups, {**data, **values}, lambda key: "all.py"))


def test_server_and_client_are_told_of_the_same_context() -> None:
    found = fitting.fitted(laptop(), (memory(Kind.UNIFIED, 64),))
    (served,) = found.settings.serves
    assert served in found.settings.uses
    assert served.model.context == found.choices["claude-fable5"].context == 131_072
    assert isinstance(served.model.weights, HubWeights)
    assert served.model.weights.files == ("*Q8_0.gguf",)


def test_two_models_share_one_memory() -> None:
    routes = {
        f"claude-{name}": {"model": "gemma-4-12b-coder", "host": "localhost", "port": port}
        for name, port in (("a", 1), ("b", 2))
    }
    settings = laptop(routes=routes, serve=["claude-a", "claude-b"])
    found = fitting.fitted(settings, (memory(Kind.UNIFIED, 48),))
    assert found.choices["claude-a"].quant.name == "Q8_0"
    assert found.choices["claude-b"].quant.name == "Q6_K"
    taken = sum(choice.needed for choice in found.choices.values())
    assert taken <= memory(Kind.UNIFIED, 48).budget
    assert found.choices["claude-b"].memory.taken == found.choices["claude-a"].needed


def test_a_context_that_the_user_wrote_is_kept() -> None:
    found = fitting.fitted(laptop({"context": 70_000}), (memory(Kind.UNIFIED, 64),))
    assert found.settings.serves[0].model.context == 70_000
    small = fitting.fitted(laptop({"context": 262_144}), (memory(Kind.UNIFIED, 16),))
    assert small.choices["claude-fable5"].quant.name == "Q2_K"


def test_only_quants_that_the_route_allows() -> None:
    found = fitting.fitted(laptop({"quants": ["Q4_K_M", "Q2_K"]}), (memory(Kind.UNIFIED, 64),))
    assert found.choices["claude-fable5"].quant.name == "Q4_K_M"
    with pytest.raises(SettingsError, match=r"quants is 'q4_k_m': .* Did you mean 'Q4_K_M'\?"):
        laptop({"quants": ["q4_k_m"]})
    with pytest.raises(SettingsError, match="quant is 'Q8_0': the model is not to be had in it"):
        laptop({"quants": ["Q4_K_M"]}, quant="Q8_0")


def test_a_machine_that_is_too_small_has_the_other_routes() -> None:
    found = fitting.fitted(laptop(), (memory(Kind.UNIFIED, 8),))
    assert found.settings.serves == ()
    assert [route.alias for route in found.settings.uses] == ["claude-glm"]
    (sentence,) = found.too_large
    assert sentence == (
        "claude-fable5 is not served here, the machine is too small for it: 8.59 GB (8 GiB) "
        "unified memory: Q2_K 4.83 GB + KV 0.84 GB at 65,536 tokens + buffers 1.28 GB -> 6.95 GB, "
        "and 4.98 GB are for the model with others beside it"
    )


def test_router_and_policy_are_of_what_is_served() -> None:
    """A policy stays where its model does not fit: without it sessions would go elsewhere."""
    routed = laptop(router={"port": 18090})
    large = fitting.fitted(routed, (memory(Kind.UNIFIED, 64),)).settings
    assert large.workstation and large.workstation.router
    assert large.workstation.router.routes == large.uses
    small = fitting.fitted(routed, (memory(Kind.UNIFIED, 8),)).settings
    assert small.workstation and small.workstation.router
    assert [one.alias for one in small.workstation.router.routes] == ["claude-glm"]
    alone = laptop(router={"port": 18090, "routes": ["claude-fable5"]})
    none = fitting.fitted(alone, (memory(Kind.UNIFIED, 8),))
    assert none.settings.workstation and none.settings.workstation.router is None
    assert "there is no router here: none of its routes is left" in none.too_large
    policed = fitting.fitted(laptop(managed_settings="claude-fable5"), (memory(Kind.UNIFIED, 8),))
    own = policed.settings.workstation
    assert own and own.managed and own.managed not in policed.settings.uses
