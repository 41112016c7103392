"""Order lines: what a message of a laboratory system asks for, one test of one specimen each (`to: orders`).

    {"lines": [{"action": "new", "placer": "P1", "specimen": "S1", "patient": {"number": "7"}, "test": "GLU"}]}

The document has the names of `engine.model.orders.OrderLine`; a field that is empty, or as usual, is left out. A line
without an action that is known has `unknown`, which the worklist rejects: an order control code is never guessed.
"""

from dataclasses import asdict, fields
from typing import Any, get_args

import orjson

from engine.mapping.message.message_context import MessageContext
from engine.mapping.outputs.collected import MessageParts
from engine.model.message import Mapped
from engine.model.orders import MOST_LINES, SPECIMEN_LENGTH, Action, OrderedPatient, OrderLine, Priority
from engine.model.texts.reasons import ReasonCode

LINES = "lines"
ACTIONS: tuple[str, ...] = get_args(Action)
PRIORITIES: tuple[str, ...] = get_args(Priority)
FIELDS = tuple(one.name for one in fields(OrderLine) if one.name not in ("ordered", "panel", "panel_name"))
PATIENT_FIELDS = tuple(one.name for one in fields(OrderedPatient))


def assemble(run: MessageContext, making: MessageParts) -> bytes:
    """The document of the lines that a message makes.

    Raises:
        ContentError: TOO_LARGE, more lines than `MOST_LINES`; BAD_VALUE, an action or a priority that is none.
    """
    found = [part.content for part in making.document.inner.get(LINES, ()) if part.there]
    if len(found) > MOST_LINES:
        raise run.dead(ReasonCode.TOO_LARGE, f"{len(found)} lines of orders; a message has at most {MOST_LINES}")
    return encode([_line(run, content, f"{LINES}[{at}]") for at, content in enumerate(found)])


def encode(lines: list[OrderLine]) -> bytes:
    """The document of lines; `decode` reads it."""
    return orjson.dumps({LINES: [_said(line) for line in lines]})


def decode(body: bytes) -> tuple[OrderLine, ...]:
    """The lines of a document that `encode` wrote.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    return tuple(_made(one) for one in orjson.loads(body)[LINES])


def order_lines(mapped: Mapped) -> tuple[OrderLine, ...]:
    """The lines that a mapping with ``to: orders`` made of a message; none where it was filtered."""
    return tuple(line for document in mapped.documents for line in decode(document.body))


def _line(run: MessageContext, content: dict[str, Any], place: str) -> OrderLine:
    content = {"action": "unknown", **content}
    for name, known in (("action", ACTIONS), ("priority", PRIORITIES)):
        if name in content and content[name] not in known:
            raise run.dead(
                ReasonCode.BAD_VALUE, f"an order's {name} is one of {', '.join(known)}", field=f"{place}.{name}"
            )
    if len(content.get("specimen", "")) > SPECIMEN_LENGTH:
        run.warn("SPECIMEN_NUMBER", f"a specimen number with more than {SPECIMEN_LENGTH} characters is none")
        del content["specimen"]
    return _made(content)


def _made(content: dict[str, Any]) -> OrderLine:
    given = dict(content)
    given["patient"] = OrderedPatient(**given.get("patient", {}))
    given["targets"] = tuple(given.get("targets", ()))
    return OrderLine(**given)


_USUAL = OrderLine()
_NO_ONE = OrderedPatient()


def _said(line: OrderLine) -> dict[str, Any]:
    said = {name: value for name, value in asdict(line).items() if name == "action" or value != getattr(_USUAL, name)}
    if line.patient == _NO_ONE:
        said.pop("patient", None)
    else:
        said["patient"] = {name: value for name, value in asdict(line.patient).items() if value}
    return said
