"""The format of a channel: its codec, and above it the dialect of its analyzer.

A *dialect* is a small pure module of `adapters.dialects` for an analyzer whose messages depart from the standard. It
handles each message between parsing and routing.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from engine.config import registry
from engine.model.message import FormatOptions, Header, Parsed
from engine.model.ports import Format

MEDIA_TYPES = {
    "hl7v2": "x-application/hl7-v2+er7",
    "astm": "text/x-astm-e1394",
    "text": "text/plain",
    "json": "application/json",
    "fhir": "application/fhir+json",
}


@dataclass(frozen=True, slots=True)
class InDialect:
    """A format whose messages a dialect corrects."""

    inner: Format
    dialect: ModuleType

    def header(self, payload: bytes) -> Header:
        return self.inner.header(payload)

    def split(self, payload: bytes) -> list[bytes]:
        return self.inner.split(payload)

    def parse(self, payload: bytes, options: FormatOptions) -> Parsed:
        parsed: Parsed = self.dialect.adapt(self.inner.parse(payload, options))
        return parsed


def format_of(source: Any, dialect: str | None) -> Format:
    """The format of a ``source:`` block (its ``format``; some formats have a description beside it).

    Raises:
        ConfigError: the description of the format is wrong.
    """
    module: Any = registry.load(registry.FORMATS, source.format)
    made: Format = module.build(source) if hasattr(module, "build") else module
    return made if dialect is None else InDialect(made, registry.dialect(dialect))
