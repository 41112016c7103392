"""Small mappings written in a test, applied to small messages: what comes out, with numbers as their text."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from engine.mapping import Program, load
from engine.mapping.language.structures import unescape_of
from engine.mapping.message.message_context import MessageContext
from engine.mapping.trying.inputs import Mapper, messages_in
from engine.mapping.values.json_text import as_text
from engine.model.errors import ConfigError
from engine.model.message import FormatOptions, Issue, MapContext, Mapped, Parsed

RECEIVED = datetime(2026, 3, 1, 4, 50, tzinfo=UTC)
KEY = bytes(range(32))

HL7 = """\
MSH|^~\\&|XN|LAB|LIS|HOSP|20260301101530||ORU^R01|M1|P|2.5
PID|1||4711^^^HOSP^MR||Doe^Jane^Q||19800412|F
OBR|1|O1|F1|CBC^Blood count^L|||20260301091500||||||||||||||20260301101500||HM|F
OBX|1|NM|HGB^Hemoglobin^L||14.8|g/dL|13.5-17.5|N|||F|||20260301094500
OBX|2|ST|COL^Color^L||yellow||||||F
NTE|1||seen twice
"""
ASTM = """\
H|\\^&|||XN-550^1.0^123|||||||P|E1394-97|20260301101530
P|1||4711||Doe^Jane||19800412|F
O|1|S77||^^^CBC|R||20260301091500||||N||||||||||||||F
R|1|^^^^WBC|8.13|10*3/uL|4.0-11.0|N||F||||20260301101500
C|1|I|clots|G
R|2|^^^^RBC|4.50|10*6/uL||N||F
L|1|N
"""


@dataclass(frozen=True)
class Made:
    """What a mapping made of one message."""

    mapped: Mapped
    document: dict[str, Any]

    def all(self, kind: str) -> list[dict[str, Any]]:
        """The resources of a type, in order."""
        entries = self.document.get("entry", ())
        return [entry["resource"] for entry in entries if entry["resource"]["resourceType"] == kind]

    def one(self, kind: str) -> dict[str, Any]:
        (found,) = self.all(kind)
        return found

    def entry(self, kind: str) -> dict[str, Any]:
        """The only entry with a resource of a type."""
        (found,) = [entry for entry in self.document["entry"] if entry["resource"]["resourceType"] == kind]
        return dict(found)

    @property
    def warnings(self) -> list[str]:
        return [issue.code for issue in self.mapped.issues if issue.severity != "note"]


def parse(message: str | bytes) -> Parsed:
    """The parsed form of one message."""
    data = message if isinstance(message, bytes) else message.encode()
    (found,) = messages_in(data)
    return Mapper(()).read(found)


def context(**given: Any) -> MapContext:
    return MapContext(
        **{
            "channel": "xn",
            "key": KEY,
            "timezone": "Asia/Kolkata",
            "received_at": RECEIVED,
            "patient_numbers": "lasting",
        }
        | given
    )


def run_of(message: str | bytes = HL7, **given: Any) -> MessageContext:
    """A run over a message, for functions called one by one."""
    parsed = parse(message)
    return MessageContext(parsed, context(**given), unescape_of(parsed.format), lambda line: "rule:1", {})


@dataclass
class Workshop:
    """A folder for mappings, libraries and tables."""

    folder: Path

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def load(self, text: str, **more: Any) -> Program:
        """A mapping of this text; its head is added where it has none."""
        self.write("m.yaml", text if "mapping:" in text else HEAD + textwrap.dedent(text))
        return load("m", [self.folder], **more)

    def steps(self, text: str, *, tables: str = "", message_format: str = "hl7v2/ORU_R01") -> Program:
        """A mapping with these steps."""
        head = HEAD.replace("hl7v2/ORU_R01", message_format)
        return self.load(f"{head}{tables}steps:\n" + textwrap.indent(textwrap.dedent(text), "  "))

    def problems(self, text: str) -> tuple[str, ...]:
        """What is wrong with a mapping that must not load."""
        with pytest.raises(ConfigError) as caught:
            self.load(text)
        return caught.value.problems


HEAD = "mapping: m\nformat: labrelay-mapping/1\nfrom: hl7v2/ORU_R01\nto: fhir/R4\n"


def apply(
    program: Program, message: str | bytes = HL7, settings: Mapping[str, Any] | None = None, **given: Any
) -> Made:
    """Map a message with both variants of the program; they must agree."""
    parsed = parse(message)
    ctx = context(settings=dict(settings or {}), **given)
    mapped = program.apply(parsed, ctx)
    trace = program.explain(parsed, ctx)
    assert trace.mapped is not None, trace.error
    assert trace.mapped.documents == mapped.documents
    # Notes are for those who have a message explained.
    assert [_seen(issue) for issue in trace.mapped.issues if issue.severity != "note"] == [
        _seen(issue) for issue in mapped.issues
    ]
    return Made(mapped, as_text(mapped.documents[0].body) if mapped.documents else {})


def _seen(issue: Issue) -> tuple[str, str, str, str]:
    return issue.severity, issue.code, issue.place, issue.text


__all__ = ["ASTM", "HL7", "FormatOptions", "Made", "Workshop", "apply", "context", "parse", "run_of"]
