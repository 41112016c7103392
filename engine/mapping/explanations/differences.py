"""Compare two documents made of one message, element by element: added, removed or changed.

    Observation.valueQuantity.value changed, Observation.interpretation.coding.code added

Paths have no numbers, so the changes of a new mapping in a thousand messages fit on a few lines. Resources of Bundles
are matched by their `fullUrl`: a resource with another id is a new one, which a server keeps beside the old one. Items
of lists are aligned, so an item added at the front does not change those behind it. Numbers are compared as they are
written. HL7 v2 is compared segment by segment. The name and digest of the mapping in the Provenance are not compared:
they only identify the mapping.

Compare two HL7 v2 messages made of one message, field by field: added, removed or changed.

    OBX-5 changed, NTE added

Segments are aligned, so a segment added at the front does not change those behind it. The fields of matching segments
are compared as they are written. MSH-10 is not compared: it differs where anything differs.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from engine.mapping.values.json_text import as_text
from engine.model.texts.phrases import N_

Compared = tuple[Literal["added", "removed", "changed"], str, str, str]  # what, where, before, after

_CONTROL_ID = 9  # place of MSH-10 in a line that is split at the field separator
MAX_SEGMENTS = 5000  # segments that differ; of longer messages they are compared place by place


def is_message(body: bytes) -> bool:
    return body.startswith(b"MSH") and len(body) > 8


def compared(before: bytes, after: bytes) -> Iterator[Compared]:
    """The differences, in the order of the message."""
    old, new = _segments(before), _segments(after)
    for first, last, start, stop in _stretches(old, new):
        left, right = old[first:last], new[start:stop]
        while left and right:
            if left[0][0] == right[0][0]:
                yield from _fields(left.pop(0), right.pop(0))
            elif any(one[0] == left[0][0] for one in right):
                yield "added", right[0][0], "", "|".join(right.pop(0))
            else:
                yield "removed", left[0][0], "|".join(left.pop(0)), ""
        yield from (("removed", one[0], "|".join(one), "") for one in left)
        yield from (("added", one[0], "", "|".join(one)) for one in right)


def _segments(body: bytes) -> list[list[str]]:
    """Lines as fields; bytes of any character set stay apart as they were."""
    text = body.decode("latin-1")
    found = [line.split(text[3]) for line in text.split("\r") if line]
    if len(found[0]) > _CONTROL_ID:
        found[0][_CONTROL_ID] = ""
    return found


def _stretches(old: list[list[str]], new: list[list[str]]) -> Iterator[tuple[int, int, int, int]]:
    """From and to in both lists, wherever they differ."""
    if len(old) + len(new) > MAX_SEGMENTS:
        yield 0, len(old), 0, len(new)
        return
    before, after = (["|".join(one) for one in segments] for segments in (old, new))
    for tag, first, last, start, stop in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            yield first, last, start, stop


def _fields(old: list[str], new: list[str]) -> Iterator[Compared]:
    name = old[0]
    shift = 1 if name == "MSH" else 0  # MSH-1 is the separator itself
    for at in range(1, max(len(old), len(new))):
        one, other = old[at] if at < len(old) else "", new[at] if at < len(new) else ""
        if one != other:
            kind: Literal["added", "removed", "changed"] = (
                "changed" if one and other else "added" if other else "removed"
            )
            yield kind, f"{name}-{at + shift}", one, other


DOCUMENT = "(document)"  # the path of a document as a whole: lines, or a raw message that is no HL7 v2
MAX_ALIGNED = 2000  # items of a list, without equal ones at both ends; longer ones are compared place by place
_MAPPING = re.compile(rb"urn:labrelay:mapping:[^\"\\]+")

Kind = Literal["added", "removed", "changed"]
N_(("added", "removed", "changed"))  # as a page says them


@dataclass(frozen=True, slots=True)
class Change:
    """One element that differs. Its texts are patient data."""

    kind: Kind
    path: str
    before: str = ""
    after: str = ""


def differences(before: bytes, after: bytes) -> list[Change]:
    """The differences, in the order of the document; none where the content is equal."""
    before, after = _MAPPING.sub(b"urn:labrelay:mapping", before), _MAPPING.sub(b"urn:labrelay:mapping", after)
    if before == after:
        return []
    try:
        old, new = as_text(before), as_text(after)
    except (ValueError, RecursionError):
        if is_message(before) and is_message(after):
            return [Change(*one) for one in compared(before, after)]
        return [Change("changed", DOCUMENT)]
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [] if old == new else [Change("changed", DOCUMENT)]
    return list(_bundles(old, new) if _is_bundle(old) and _is_bundle(new) else _objects(old, new, ""))


def _is_bundle(value: dict[str, Any]) -> bool:
    return value.get("resourceType") == "Bundle" and isinstance(value.get("entry"), list)


def _bundles(old: dict[str, Any], new: dict[str, Any]) -> Iterator[Change]:
    yield from _objects(_without(old, "entry"), _without(new, "entry"), "Bundle")
    left = {entry.get("fullUrl", str(at)): entry for at, entry in enumerate(old["entry"])}
    for at, entry in enumerate(new["entry"]):
        known = left.pop(entry.get("fullUrl", str(at)), None)
        kind = _type(entry)
        if known is None or _type(known) != kind:
            yield Change("added", kind)
            if known is not None:
                yield Change("removed", _type(known))
            continue
        yield from _objects(known.get("resource", {}), entry.get("resource", {}), kind)
        yield from _objects(_without(known, "resource"), _without(entry, "resource"), f"{kind} (entry)")
    yield from (Change("removed", _type(entry)) for entry in left.values())


def _type(entry: dict[str, Any]) -> str:
    return str(entry.get("resource", {}).get("resourceType", "entry"))


def _without(value: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if key != name}


def _objects(old: dict[str, Any], new: dict[str, Any], path: str) -> Iterator[Change]:
    for name in [*old, *(name for name in new if name not in old)]:
        where = f"{path}.{name}" if path else name
        if name not in new:
            yield from _whole("removed", old[name], where)
        elif name not in old:
            yield from _whole("added", new[name], where)
        elif old[name] != new[name]:
            yield from _values(old[name], new[name], where)


def _values(old: Any, new: Any, path: str) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _objects(old, new, path)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _lists(old, new, path)
    elif isinstance(old, dict | list) or isinstance(new, dict | list):
        yield from _whole("removed", old, path)
        yield from _whole("added", new, path)
    else:
        yield Change("changed", path, _text(old), _text(new))


def _lists(old: list[Any], new: list[Any], path: str) -> Iterator[Change]:
    begin = 0
    while begin < min(len(old), len(new)) and old[begin] == new[begin]:
        begin += 1
    end = 0
    while end < min(len(old), len(new)) - begin and old[-1 - end] == new[-1 - end]:
        end += 1
    old, new = old[begin : len(old) - end], new[begin : len(new) - end]
    for first, last, start, stop in _pieces(old, new):
        paired = min(last - first, stop - start)
        for at in range(paired):
            yield from _values(old[first + at], new[start + at], path)
        for item in old[first + paired : last]:
            yield from _whole("removed", item, path)
        for item in new[start + paired : stop]:
            yield from _whole("added", item, path)


def _pieces(old: list[Any], new: list[Any]) -> Iterator[tuple[int, int, int, int]]:
    """The stretches that differ: from and to in both lists."""
    if len(old) + len(new) > MAX_ALIGNED:
        common = min(len(old), len(new))
        yield from ((at, at + 1, at, at + 1) for at in range(common) if old[at] != new[at])
        yield common, len(old), common, len(new)
        return
    before, after = ([json.dumps(item, sort_keys=True) for item in items] for items in (old, new))
    for tag, first, last, start, stop in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag != "equal":
            yield first, last, start, stop


def _whole(kind: Kind, value: Any, path: str) -> Iterator[Change]:
    """A value that is only on one side, by its leaves."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _whole(kind, inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from _whole(kind, inner, path)
    elif kind == "added":
        yield Change(kind, path, after=_text(value))
    else:
        yield Change(kind, path, before=_text(value))


def _text(value: Any) -> str:
    return "" if value is None else str(value)
