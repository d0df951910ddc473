"""Sites as plain data, and the same sites in the same model loaded again, without running it."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from gatescope.hooks.discovery.find import COMMON, divider_of, family_of
from gatescope.hooks.discovery.search.unknown_names import PlacedReading
from gatescope.hooks.layers.list_reading import ListReading
from gatescope.hooks.layers.site import Site

OWN = ("layer", "block", "stack", "holder_path", "router_path", "experts_path", "logits_at", "options", "k")
MEASURED = ("output_scale", "note")


def describe(site: Site) -> dict[str, Any] | None:
    """A site as JSON can hold it; None for one whose experts are a list, which is known only by what it does."""
    if isinstance(site.reading, ListReading):
        return None
    modules = {"holder": site.holder, "router": site.router, "experts": site.experts}
    data = {name: getattr(site, name) for name in (*OWN, *MEASURED)}
    data["classes"] = {name: type(module).__name__ for name, module in modules.items() if module is not None}
    if isinstance(site.reading, PlacedReading):
        data["placed"] = [site.reading.ids_at, site.reading.weights_at]
    return data


def rebuild(model: nn.Module, data: Mapping[str, Any]) -> Site:
    """The site of such a description. Errors: LookupError where the model has no such modules."""
    experts = _module(model, data, "experts") if data["experts_path"] else None
    holder, router = _module(model, data, "holder"), _module(model, data, "router")
    family = family_of(holder)
    placed = data.get("placed")
    if placed is not None:
        reading: Any = PlacedReading(*placed)
    else:
        reading = COMMON if family is None else family.reading
    path = data["holder_path"] if family is not None else data["experts_path"]
    return Site(
        **{name: data[name] for name in (*OWN, *MEASURED)},
        holder=holder,
        router=router,
        experts=experts,
        reading=reading,
        divider=divider_of(model, path)[0],
    )


def _module(model: nn.Module, data: Mapping[str, Any], name: str) -> nn.Module:
    path, kind = data[f"{name}_path"], data["classes"][name]
    try:
        module = model.get_submodule(path)
    except AttributeError as error:
        raise LookupError(f"no module {path}") from error
    if type(module).__name__ != kind:
        raise LookupError(f"{path} is {type(module).__name__}, and was {kind}")
    return module
