"""Records to one JSON object: members of the document, and lists of records inside each other. Digits stay as sent."""

from typing import Any

import orjson

from engine.mapping.outputs.collected import MessageParts, Part


def assemble(making: MessageParts) -> bytes:
    """The serialised document. A list without a record, and a record that says nothing, are left out."""
    return orjson.dumps(_object(making.document))


def _object(part: Part) -> dict[str, Any]:
    made = dict(part.content)
    for name, records in part.inner.items():
        there = [_object(record) for record in records if record.there]
        if there:
            made[name] = there
    return made
