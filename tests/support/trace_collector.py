"""A collector of traces on this machine, which reads what comes by OpenTelemetry's own package."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.scripted_http import Request, Script, ScriptedServer, http, scripted


@dataclass(frozen=True)
class Seen:
    """A span as it arrived; ``about``: its attributes without the prefix."""

    name: str
    trace: str
    span: str
    parent: str
    start_ns: int
    end_ns: int
    failed: bool
    about: dict[str, Any]


@dataclass
class TraceCollector:
    server: ScriptedServer

    @property
    def url(self) -> str:
        return self.server.url.removesuffix("/fhir")

    @property
    def requests(self) -> list[Request]:
        return self.server.requests

    def spans(self, name: str = "") -> list[Seen]:
        """All that came, in order; of this name."""
        read = [ExportTraceServiceRequest.FromString(one.content) for one in self.requests]
        found = [span for one in read for part in one.resource_spans for of in part.scope_spans for span in of.spans]
        return [_seen(one) for one in found if name in ("", one.name)]


def _seen(one: Any) -> Seen:
    about = {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in one.attributes}
    assert all(key.startswith("labrelay.") for key in about)
    return Seen(
        name=one.name,
        trace=one.trace_id.hex(),
        span=one.span_id.hex(),
        parent=one.parent_span_id.hex(),
        start_ns=one.start_time_unix_nano,
        end_ns=one.end_time_unix_nano,
        failed=one.status.code == 2,
        about={key.removeprefix("labrelay."): value for key, value in about.items()},
    )


@asynccontextmanager
async def trace_collector(*script: Script) -> AsyncIterator[TraceCollector]:
    """A collector that answers so; by itself it takes everything."""
    async with scripted(*(script or (http(200),))) as server:
        yield TraceCollector(server)
