"""Critical values where no reader takes the message: its documents show them; and where a reader fails."""

import logging
from collections.abc import Callable
from functools import partial

import pytest

from adapters.codecs.hl7v2 import message as hl7v2
from engine.mapping.measured import Reading
from engine.model.errors import ConfigError, ContentError
from engine.model.message import Delimiters, Document, FormatOptions, Group, MapContext, Parsed, Stored
from engine.model.routes import ChannelRoutes, Program, Route, context_of
from engine.model.texts.reasons import ReasonCode
from engine.processing.criticals import criticals_in

ORU = (
    b"MSH|^~\\&|AN|LAB|LIS|H|20240301090000||ORU^R01|M1|P|2.5.1\rPID|1||7\rOBR|1||S1|K\r"
    b"OBX|1|NM|K^^L||7.9|mmol/L||%b|||F\r"
)
ROUTE = Route(when=None, program=None)
IN_JSON = Parsed(
    format="json", structure="", message_type="", delimiters=Delimiters(), root=Group(""), segments=[], warnings=[]
)


def broken(error: Exception) -> Callable[[Parsed], Program | None]:
    def reader(parsed: Parsed) -> Program | None:
        raise error

    return reader


def found(parsed: Parsed, body: bytes, reader: Callable[[Parsed], Program | None] | None) -> tuple[int, ...]:
    channel = ChannelRoutes(
        channel="lab", message_format=hl7v2, media_type="", options=FormatOptions(), routes=(ROUTE,),
        context=MapContext(), reader=reader,
    )  # fmt: skip
    stored = Stored(id=1, channel="lab", seq=1, payload=body, received_us=1)
    reading = Reading(parsed, partial(context_of, stored, channel.context), reader)
    return criticals_in(parsed, reading, [(Document(body=body), ROUTE)])


def document(flag: str) -> bytes:
    return (
        '{"resourceType":"Bundle","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Observation","status":'
        '"final","code":{"coding":[{"code":"K"}]},"valueQuantity":{"value":7.9},"interpretation":[{"coding":[{"code":'
        f'"{flag}"'
        "}]}]}}]}"
    ).encode()


@pytest.mark.parametrize("reader", [None, lambda _: None], ids=["a channel without", "none for this format"])
@pytest.mark.parametrize(("flag", "is_critical"), [("HH", True), ("N", False)])
def test_a_message_that_no_reader_takes_rings_by_its_documents(
    reader: Callable[[Parsed], Program | None] | None, flag: str, is_critical: bool
) -> None:
    assert bool(found(IN_JSON, document(flag), reader)) is is_critical
    assert bool(found(hl7v2.parse(ORU % flag.encode(), FormatOptions()), ORU % flag.encode(), reader)) is is_critical


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ConfigError("tables/analytes.csv: no such column"), "tables/analytes.csv: no such column"),
        (ContentError(ReasonCode.COUNT_MISMATCH, "twice"), "COUNT_MISMATCH"),
        (KeyError("Iyer"), "KeyError"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_where_the_reader_fails_the_documents_show_it_and_the_log_says_so(
    error: Exception, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert found(hl7v2.parse(ORU % b"HH", FormatOptions()), ORU % b"HH", broken(error)) == (0,)
    (line,) = caplog.records
    assert (line.getMessage(), line.__dict__["detail"]) == ("facts cannot be read", detail)
    assert found(hl7v2.parse(ORU % b"N", FormatOptions()), ORU % b"N", broken(error)) == ()


def test_a_message_of_training_is_no_fault_of_its_reader(caplog: pytest.LogCaptureFixture) -> None:
    error = ContentError(ReasonCode.NOT_PRODUCTION, "processing id T")
    assert found(hl7v2.parse(ORU % b"HH", FormatOptions()), ORU % b"HH", broken(error)) == (0,)
    assert not caplog.records
