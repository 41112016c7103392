"""A stored message as a mapping test (`engine.mapping.trying.testing`), without its patient.

The patient is removed as `labrelay messages export --deid` does it: codes of the mapping's tables are kept, all others
are replaced. The expectations are what the mapping makes of the message without its patient.
"""

import os
from collections.abc import Iterator

import orjson

from engine.diagnostics.deidentified import KEY_BYTES, Deidentifier
from engine.mapping.program import Program
from engine.model.errors import ContentError
from engine.model.message import MapContext, Mapped, Parsed, Stored
from engine.model.process.clock import from_us
from engine.model.routes import ChannelRoutes, context_of
from engine.model.texts.reasons import ReasonCode

MAX_CODE = 60  # signs of a word in a table that may be in a message


def mapping_test(stored: Stored, routes: ChannelRoutes) -> str:
    """The test as YAML.

    Raises:
        UnknownFormatError: neither HL7 v2 nor E1394: the places of patient data in it are not known.
        ContentError: it cannot be read, or no mapping takes it.
    """
    program = _program(routes.message_format.parse(stored.payload, routes.options), routes)
    words = {cell.lower() for table in program.tables.values() for row in table.rows for cell in row.cells.values()}
    known = frozenset(word for word in words if len(word) <= MAX_CODE)
    content, _ = Deidentifier(os.urandom(KEY_BYTES), known).apply(stored.payload, from_us(stored.received_us).date())
    text = content.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    parsed = routes.message_format.parse(text.encode(), routes.options)
    context = context_of(stored, routes.context)
    return "\n".join(
        [
            f"- test: {_quoted(f'message {stored.id} of {stored.channel}, without its patient')}",
            f"  mapping: {_quoted(program.name)}",
            f"  channel: {_quoted(stored.channel)}",
            *_given(text),
            "  expect:",
            *(f"    {line}" for line in _expected(program, parsed, context)),
            "",
        ]
    )


def _program(parsed: Parsed, routes: ChannelRoutes) -> Program:
    """The mapping of the first route that takes the message and has one.

    Raises:
        ContentError: there is none.
    """
    for route in routes.routes:
        if isinstance(route.program, Program) and (route.when is None or route.when(parsed)):
            return route.program.aside()
    raise ContentError(ReasonCode.NO_ROUTE, "no mapping takes this message")


def _given(text: str) -> Iterator[str]:
    """A block where each line is seen as it is; else one quoted text."""
    lines = text.strip("\n").split("\n")
    if all(line and line.isprintable() and line == line.strip() for line in lines):
        yield "  given: |"
        yield from (f"    {line}" for line in lines)
    else:
        yield f"  given: {_quoted(text)}"


def _expected(program: Program, parsed: Parsed, context: MapContext) -> Iterator[str]:
    try:
        mapped: Mapped = program.apply(parsed, context)
    except ContentError as error:
        yield f"dead: {error.reason.value}"
        return
    if mapped.filtered is not None:
        yield f"filtered: {mapped.filtered.value}"
    for document in mapped.documents:
        yield f"counts: {_quoted(program.view(document).counts())}"
    yield f"issues: {_quoted([one.code for one in mapped.issues if one.severity != 'note'])}"
    yield f"unmapped: {_quoted([one.code for one in mapped.unmapped])}"


def _quoted(value: object) -> str:
    """JSON, which is YAML."""
    return orjson.dumps(value).decode()
