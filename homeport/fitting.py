"""Settings, fitted to the machine that they are for. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from . import memory
from .memory import Choice, Memory
from .model import Route
from .settings import HostSettings
from .weights import HubWeights
from .workstation_settings import WorkstationSettings


@dataclass(frozen=True)
class Fitted:
    """`settings` with what the machine's memory decides; `choices` by alias, where there was any,
    and `too_large`, a sentence for each route that it cannot serve at all."""

    settings: HostSettings
    choices: Mapping[str, Choice] = field(default_factory=dict)
    too_large: tuple[str, ...] = ()


def fitted(settings: HostSettings, memories: tuple[Memory, ...]) -> Fitted:
    """Choose quant and context of what a laptop with these `memories`, the best first, serves.

    A route that nothing of fits is neither served nor used here. Raises `SettingsError` where the
    quant that the user pinned cannot work.
    """
    if not settings.laptop:
        return Fitted(settings)
    choices: dict[str, Choice] = {}
    too_large = []
    serves: dict[Route, Route | None] = {}
    for route in settings.serves:
        recipe, weights = route.model.laptop, route.model.weights
        if not recipe or not recipe.footprint or not isinstance(weights, HubWeights):
            serves[route] = route
            continue
        choice: Choice | None
        if settings.laptop.quant is not None:
            quant = recipe.quant(settings.laptop.quant)
            choice = memory.pinned(quant, recipe.contexts, recipe.footprint, memories)
        else:
            choice = memory.best(recipe.quants, recipe.contexts, recipe.footprint, memories)
        if choice is None:
            smallest = min(recipe.quants, key=lambda quant: quant.size)
            tried = Choice(smallest, min(recipe.contexts), memories[-1], recipe.footprint)
            too_large.append(
                f"{route.alias} is not served here, the machine is too small for it: {tried}"
            )
            serves[route] = None
        else:
            choices[route.alias] = choice
            # What is held for others, too, is all in one place.
            part = None if settings.serves_mirror else choice.quant.name
            serves[route] = _resolved(route, replace(weights, part=part), choice)
            memories = tuple(one.without(choice) for one in memories)
    fitting = replace(
        settings,
        workstation=_of_workstation(settings.workstation, serves),
        serves=tuple(found for found in serves.values() if found),
        uses=tuple(found for route in settings.uses if (found := serves.get(route, route))),
    )
    if settings.router and not fitting.router:
        too_large.append("there is no router here: none of its routes is left")
    return Fitted(
        settings=fitting,
        choices=choices,
        too_large=tuple(too_large),
    )


def _of_workstation(
    settings: WorkstationSettings | None, serves: Mapping[Route, Route | None]
) -> WorkstationSettings | None:
    """The same for what leads to these routes in other ways."""
    if settings is None:
        return None
    router, managed = settings.router, settings.managed
    if router:
        routes = tuple(found for one in router.routes if (found := serves.get(one, one)))
        router = replace(router, routes=routes) if routes else None
    # A policy stays, whatever fits: without it sessions would go elsewhere.
    managed = managed and (serves.get(managed) or managed)
    return replace(settings, router=router, managed=managed)


def _resolved(route: Route, weights: HubWeights, choice: Choice) -> Route:
    quant = choice.quant
    chosen = replace(weights, files=(quant.file,), size=quant.size)
    return replace(route, model=replace(route.model, weights=chosen, context=choice.context))
