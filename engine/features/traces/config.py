"""The ``traces:`` of a site: where the steps of messages go, with their times
(`engine.features.traces.service`)."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from engine.config.destinations.destination_auth import host_in_clear
from engine.config.destinations.templated_request import OURS, SecretHeader
from engine.config.reading.joining import Behind, Block, KeyHelp, part
from engine.config.reading.values import HttpUrl, Model, Whole
from engine.config.reading.yaml_nodes import KeyPath
from engine.config.sitewide import Server, SiteConfig
from engine.config.tls import ConnectTls
from engine.model.process.clock import Clock

ADAPTER = "adapters.clients.otlp"
PATH = "/v1/traces"  # OTLP/HTTP, where an address has no path


class TracesConfig(Model):
    """Traces of messages, for a collector of OpenTelemetry (OTLP over HTTP): names of channels and destinations,
    numbers, times and codes. Patient data never leaves with a trace."""

    timeout: ClassVar[float] = 10.0

    url: HttpUrl
    """Address of the collector, as `http://127.0.0.1:4318`; without a path it is `/v1/traces`."""

    # a YAML list is a Python list; each header in it is still read strictly
    headers: tuple[SecretHeader, ...] = Field(default=(), strict=False, max_length=20)
    """Headers of each request, as `[{name: Authorization, secret: "${OTLP_TOKEN}"}]`."""

    sample: Whole = Field(default=100, ge=1, le=100)
    """Per cent of the messages that are traced. A message has all of its steps, or none."""

    tls: ConnectTls | None = None
    """Trust and client certificate for https."""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        for one in self.headers:
            if one.name.lower() in OURS - {"authorization"}:
                raise ValueError(f"headers: {one.name} is not for this place; take it out")
        return self

    @property
    def address(self) -> str:
        """Where requests go."""
        parts = urlsplit(self.url)
        return self.url if parts.path.strip("/") else parts._replace(path=PATH).geturl()

    def in_clear(self) -> Iterator[tuple[KeyPath, str]]:
        """Secrets that would go to another machine without TLS: the key that says so, and a sentence."""
        if self.headers and (host := host_in_clear(self.url)):
            yield ("headers",), f"they go to {host} in clear, with every request; use https://"

    def build(self, clock: Clock, resource: Mapping[str, str]) -> Any:
        """The collector: an `adapters.clients.otlp.Collector`, which is loaded here.

        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        return import_module(ADAPTER).build(self, clock, resource)


class TracesKeys(Model):
    """Keys of the site's file."""

    traces: Annotated[TracesConfig | None, Behind("backup")] = None
    """Where the steps of messages go, with their times, as traces of OpenTelemetry."""


def traces_of(config: SiteConfig) -> TracesConfig | None:
    return part(config, TracesKeys).traces


def servers(config: SiteConfig) -> Iterator[Server]:
    """The collector."""
    if (traces := traces_of(config)) is not None:
        yield Server(owner="traces", path=("traces",), block=traces, place=traces.url, in_clear=traces.in_clear())


KEYS = KeyHelp({"traces": (Block("`traces:`", [TracesConfig]),)})
