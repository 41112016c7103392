"""The ``webhooks:`` of a site: programs that events are sent to (`engine.features.events.service`)."""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from engine.config.destinations.destination_auth import USE_HTTPS, host_in_clear
from engine.config.reading.joining import Behind, Block, KeyHelp, part
from engine.config.reading.values import Model, Name, Names, SecretName, WebAddress
from engine.config.sitewide import OfUnit, Server, SiteConfig
from engine.config.tls import ConnectTls
from engine.features.events.rules import wanted
from engine.model.process.clock import Clock
from engine.model.site.permissions import LOOKING

MOST_WEBHOOKS = 20


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    wanted(names)
    return names


class WebhookConfig(OfUnit, Model):
    """A program that gets events, signed as the Standard Webhooks specification has it."""

    adapter: ClassVar[str] = "adapters.clients.http.webhook"
    timeout: ClassVar[float] = 10.0

    url: WebAddress
    """Address that each event is posted to: `https://`, or this machine. A part of it that is secret is named, as
    `${HOOK}`."""

    secret: SecretName
    """The secret that events are signed with, by name only. Its value is `whsec_` and 24 to 64 bytes in base 64."""

    former_secret: SecretName | None = None
    """While the receiver changes to a new secret: the one before, which signs, too."""

    events: Annotated[Names, AfterValidator(_known)]
    """The events that are sent, by kind or by type, as `[delivery.dead, alert]`. Acts of people are sent only where
    `act` is named."""

    tls: ConnectTls | None = None
    """Trust and client certificate for https."""

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        if host := host_in_clear(self.url):
            raise ValueError(f"url: events would go to {host} in clear; {USE_HTTPS}")
        if self.unit and not wanted(self.events).needs <= LOOKING:
            raise ValueError("events: acts of people are the whole site's; leave out act, or unit")
        return self

    @property
    def place(self) -> str:
        """Where events go, for people: nothing in it is secret."""
        return urlsplit(self.url).netloc

    def build(self, name: str, clock: Clock) -> Any:
        """The client of the webhook ``name``: an `engine.model.ports.EventReceiver`.

        Raises:
            ConfigError: a certificate or key file cannot be used.
        """
        return import_module(self.adapter).build(name, self, clock)


class EventsKeys(Model):
    """Keys of the site's file."""

    webhooks: Annotated[dict[Name, WebhookConfig], Field(max_length=MOST_WEBHOOKS), Behind("backup")] = Field(
        default_factory=dict
    )
    """Programs that events are sent to, by name."""


def webhooks_of(config: SiteConfig) -> Mapping[str, WebhookConfig]:
    return part(config, EventsKeys).webhooks


def servers(config: SiteConfig) -> Iterator[Server]:
    """The programs that events are sent to."""
    for name, hook in webhooks_of(config).items():
        owner = f"webhook {name}"
        yield Server(owner=owner, path=("webhooks", name), block=hook, place=hook.url, asked=owner)


KEYS = KeyHelp(
    {"webhooks": (Block("An entry of `webhooks:`", [WebhookConfig]),)},
    about={"webhooks": "`webhooks:` of the site: a map from a name to a program that events are sent to."},
)
