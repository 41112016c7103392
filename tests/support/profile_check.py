"""Does a resource keep to a StructureDefinition? A small checker of what a differential says, for tests.

Of each element of the differential: its cardinality within each parent, its fixed value, its slices by a value (and
that nothing stands outside closed ones), required bindings are reported where there are any (`required_bindings`), and
what its references may point to. The base definitions are not looked at: `fhir_check` does that.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.support.corpus import PROFILES

Json = dict[str, Any]


@cache
def definitions() -> dict[str, Json]:
    """The StructureDefinitions by URL."""
    found = [json.loads(path.read_text("utf-8")) for path in sorted(PROFILES.glob("StructureDefinition-*.json"))]
    return {definition["url"]: definition for definition in found}


def required_bindings() -> list[str]:
    """Elements whose differential binds them to codes that are the only ones allowed."""
    return [
        element["id"]
        for definition in definitions().values()
        for element in definition["differential"]["element"]
        if element.get("binding", {}).get("strength") == "required"
    ]


def bundle_faults(bundle: Json) -> list[str]:
    """What is wrong with a Bundle and its resources, each against the profiles that it claims."""
    kinds = {entry["fullUrl"]: entry["resource"]["resourceType"] for entry in bundle["entry"]}
    found = []
    for resource in [bundle, *(entry["resource"] for entry in bundle["entry"])]:
        claimed = [definitions()[url] for url in resource.get("meta", {}).get("profile", ()) if url in definitions()]
        if not claimed:
            found.append(f"{resource['resourceType']}: claims no profile that is known")
        for definition in claimed:
            found += profile_faults(resource, definition, kinds)
    return found


def profile_faults(resource: Json, definition: Json, kinds: dict[str, str]) -> list[str]:
    """What of a differential a resource breaks; ``kinds`` says what each fullUrl of the Bundle is."""
    assert resource["resourceType"] == definition["type"]
    elements = {element["id"]: element for element in definition["differential"]["element"]}
    found: list[str] = []
    for name, element in elements.items():
        way = name.split(".")[1:]
        if not way:
            continue
        for parent in _reached(resource, way[:-1], name.split(".")[0], elements):
            here = list(_children(parent, way[-1], name, elements))
            low, high = element.get("min", 0), element.get("max", "*")
            if len(here) < low or (high != "*" and len(here) > int(high)):
                found.append(f"{name}: {len(here)} and not {low}..{high}")
            if "fixedUri" in element and any(one != element["fixedUri"] for one in here):
                found.append(f"{name}: is not {element['fixedUri']}")
            if element.get("slicing", {}).get("rules") == "closed":
                inside = [one for slice_ in _slices(name, elements) for one in here if _fits(one, slice_, elements)]
                if len(inside) != len(here):
                    found.append(f"{name}: stands in no slice")
            found += [f"{name}: {fault}" for one in here for fault in _target_faults(one, element, kinds)]
    return found


def _reached(node: Json, way: list[str], prefix: str, elements: dict[str, Json]) -> Iterator[Json]:
    """The objects at a path; a step ``entry:Slice`` goes only into those of that slice."""
    if not way:
        yield node
        return
    name = f"{prefix}.{way[0]}"
    for child in _children(node, way[0], name, elements):
        if isinstance(child, dict):
            yield from _reached(child, way[1:], name, elements)


def _children(node: Json, step: str, name: str, elements: dict[str, Json]) -> Iterator[Any]:
    key, _, slice_ = step.partition(":")
    if key.endswith("[x]"):
        values = [value for one, value in node.items() if one.startswith(key[:-3])]
    else:
        values = [node[key]] if key in node else []
    for value in values:
        for one in value if isinstance(value, list) else [value]:
            if not slice_ or _fits(one, name, elements):
                yield one


def _slices(name: str, elements: dict[str, Json]) -> list[str]:
    return [one for one in elements if one.startswith(name + ":") and "." not in one[len(name) :]]


def _fits(value: Any, slice_: str, elements: dict[str, Json]) -> bool:
    """Whether a value has what tells the slice: the fixed values of the discriminators."""
    slicing = elements[slice_.rpartition(":")[0]]["slicing"]
    for discriminator in slicing["discriminator"]:
        wanted = elements[f"{slice_}.{discriminator['path']}"]["fixedUri"]
        if not isinstance(value, dict) or value.get(discriminator["path"]) != wanted:
            return False
    return True


def _target_faults(value: Any, element: Json, kinds: dict[str, str]) -> Iterator[str]:
    allowed = {
        definitions().get(url, {}).get("type") or url.rpartition("/")[2]
        for kind in element.get("type", ())
        for url in kind.get("targetProfile", ())
    }
    if not allowed or not isinstance(value, dict) or "reference" not in value:
        return
    kind = kinds.get(value["reference"])
    if kind is None:
        yield "points to nothing in the document"
    elif kind not in allowed and not allowed & {"Resource"}:
        yield f"points to a {kind}"
