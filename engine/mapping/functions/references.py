"""References inside JSON that is FHIR: contained resources, and entries of a Bundle (FHIR R4 2.3.0.6, 3.1.5)."""

from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

from engine.config import registry
from engine.mapping.functions.registry import function
from engine.mapping.language.structures import JSON
from engine.mapping.message.message_context import MessageContext


@function("referred(reference: text, path: literal) -> text")
def referred(run: MessageContext, reference: str, path: str) -> str | None:
    """A text of the resource that a reference names: a contained one (`#s1`), or one of the Bundle, by its fullUrl or
    its type and id. The path begins at that resource: `'$.identifier[0].value'`. Absent where the message lacks the
    resource, and with a warning where it has several of this name.
    """
    if run.referred is None:
        run.referred = {}
        for name, place, resource in _named(getattr(run.parsed, "tree", None)):
            run.referred.setdefault(name, []).append((place, resource))
    found = run.referred.get(reference.partition("/_history/")[0], ())
    if not found:
        return None
    place, resource = found[0]
    if any(other != resource for _, other in found):
        run.warn("AMBIGUOUS_REFERENCE", "several resources of the message have the name that a reference gives")
        return None
    codec = _codec()
    text: str = codec.text_at(resource, codec.path_of(path))
    if text and run.trace is not None:
        run.trace.tree(place.replace("{", "{{").replace("}", "}}") + path[1:])
    return text or None


def _named(tree: Any) -> Iterator[tuple[str, str, Any]]:
    """Each resource of a message by each of its names: the name, its place, the resource."""
    yield from _contained(tree, "$")
    entries = tree.get("entry") if isinstance(tree, dict) else None
    for at, entry in enumerate(entries if isinstance(entries, list) else ()):
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict):
            continue
        place = f"$.entry[{at}].resource"
        names = {entry.get("fullUrl"), f"{resource.get('resourceType')}/{resource.get('id')}"}
        yield from ((name, place, resource) for name in names if isinstance(name, str))
        yield from _contained(resource, place)


def _contained(resource: Any, place: str) -> Iterator[tuple[str, str, Any]]:
    inside = resource.get("contained") if isinstance(resource, dict) else None
    for at, one in enumerate(inside if isinstance(inside, list) else ()):
        if isinstance(one, dict) and isinstance(one.get("id"), str):
            yield f"#{one['id']}", f"{place}.contained[{at}]", one


@cache
def _codec() -> ModuleType:
    return registry.load(registry.FORMATS, JSON)
