"""The destination of kind ``abdm``: reports that patients find in their own app, by India's network of health records.

One account at the gateway (its "bridge") has one URL for all callbacks of all its facilities. So account,
listener and facilities are one entry of ``destinations:``, and a site has at most one.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from engine.config.destinations.destination_auth import USE_HTTPS, host_in_clear
from engine.config.destinations.destination_base import DestinationBase
from engine.config.destinations.templated_request import SmsConfig
from engine.config.reading import values
from engine.config.reading.yaml_nodes import KeyPath
from engine.config.sources.source_http import UrlPath
from engine.config.tls import ServerTls
from engine.model.texts.units import HostPort

GATEWAYS = {"sbx": "https://dev.abdm.gov.in", "abdm": "https://apis.abdm.gov.in"}
HEALTH = "/health"  # behind `path`: it answers `ok` to anyone, so a look from outside shows that callbacks can come in
SANDBOX_ISSUER = "https://dev.abdm.gov.in/auth/realms/central-registry"
FacilityId = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{2,63}$"), values.Words("id of a facility")
]


def _base_path(text: str) -> str:
    if text == "/":
        raise ValueError("expected a path of its own, as /abdm: all else of the address stays closed")
    return text.rstrip("/")


class FacilityConfig(values.Model):
    """A laboratory as the network knows it."""

    name: values.Text
    """Name of the laboratory, as patients see it."""

    hfr: FacilityId | None = None
    """Id in the Health Facility Registry, for the documents; by default the id at the gateway, which it usually is."""

    channels: values.Names | None = None
    """Channels whose reports are this laboratory's. Needed where there are several; a lone one has all."""


class CallbackConfig(values.Model):
    """Where the gateway's callbacks come in: a listener of its own, beside the page's."""

    url: values.HttpUrl
    """Public address that the gateway knows, as `https://relay.example.org/abdm`; it appends the path of each
    callback."""

    listen: values.Address
    """Address to listen on. Beyond this machine only with `tls`."""

    path: Annotated[UrlPath, AfterValidator(_base_path)] = "/abdm"
    """Path before that of each callback, as it arrives here."""

    tls: ServerTls | None = None
    """TLS of the listener."""

    allow: values.Networks = ()
    """Addresses and networks that may send callbacks. By default any: each has to prove who sent it. Name them in
    production: a token that another party has seen proves a callback, too."""

    relays: values.Networks = ()
    """Addresses of relays before this machine. Where a connection comes from one, the sender is the last address of
    `X-Forwarded-For`; from any other address that header counts for nothing."""

    one_request_per_token: values.Flag = False
    """`true`: a token proves callbacks of one REQUEST-ID; under another one it is refused. Leave it until NHA says that
    each callback has a token of its own: where the gateway uses one for several, these would be lost."""

    max_connections: values.Whole = Field(default=64, ge=1, le=10_000)
    """Connections at once; one more is closed."""

    @model_validator(mode="after")
    def _protected(self) -> Self:
        if self.tls is None and not self.listen.is_loopback:
            raise PydanticCustomError(
                "abdm",
                "other machines reach this address, and names of patients would come in clear; add tls, or listen on "
                "127.0.0.1 behind a tunnel",
            )
        return self


class AbdmDestination(DestinationBase):
    """The patients' own apps, by ABDM: the laboratory as Health Information Provider.

    Attributes:
        concurrency: calls under way at once.
        pushes: pages of records under way at once, to all readers together; one reader has half of them at most.
    """

    adapter = "engine.features.abdm.client.destination"
    takes = "fhir"
    probed = False
    concurrency: ClassVar[int] = 8
    pushes: ClassVar[int] = 16
    example = """\
abdm:
  kind: abdm
  environment: sbx
  client_id: SBX_000001
  client_secret: ${ABDM_CLIENT_SECRET}
  facilities: {IN0000000001: {name: Example Diagnostics}}
  callbacks:
    url: https://relay.example.org/abdm
    listen: 127.0.0.1:8590
"""

    kind: Literal["abdm"]
    """`abdm`: reports wait here until the patient's app asks for them, under the patient's consent (`docs/abdm.md`)."""

    environment: Literal["sbx", "abdm"]
    """`sbx`: NHA's sandbox; `abdm`: production. It is the X-CM-ID of each call, and decides the gateway."""

    gateway: values.HttpUrl | None = None
    """Address of the gateway; by default that of `environment`."""

    client_id: values.Text
    """Id of our account at the gateway."""

    client_secret: values.SecretName
    """Its secret, by name only."""

    issuer: values.HttpUrl | None = None
    """Issuer (`iss`) of the tokens that prove callbacks. That of the sandbox is known; in production give it."""

    senders: values.Texts = ("gateway",)
    """Accounts (`azp`) of which a token proves a callback. One that other parties use lets them in."""

    facilities: Annotated[dict[FacilityId, FacilityConfig], Field(min_length=1)]
    """Laboratories under this account, by their id at the gateway (X-HIP-ID)."""

    callbacks: CallbackConfig
    """Where callbacks come in."""

    consent_signatures: Literal["keep", "verify"] = "keep"
    """`keep`: the signature of a consent is kept. `verify`: nothing goes out under a consent unless a key of the
    gateway proves its signature. NHA has not published the bytes that are signed, so `verify` may refuse each
    consent."""

    sms: SmsConfig | None = None
    """SMS service for the codes by which patients link reports from their app; without it their searches find
    nothing."""

    answer_within: values.Duration = Field(default=1800.0, ge=1, le=86_400)
    """How long a call waits for the callback with its result before it is made again: the gateway repeats a callback
    that was not taken after some 16 minutes."""

    profile: Literal["2.0.1", "6.5"] = "2.0.1"
    """Release of the NRCeS profiles whose rules each document must keep."""

    push_private: values.Networks = ()
    """Networks that are not of the internet and to which records may be pushed all the same, as `10.1.2.0/24`. By
    default none: the reader names the address, and it must not lead into the laboratory."""

    push_token: bool = True
    """Whether the token of our session goes along with records, as NHA's documents want it. The reader could call the
    gateway as us until the token ends; `false` where the readers take records without."""

    invite: values.Flag = False
    """`true`: a patient with a mobile and without ABHA gets an SMS of the network with a link, once for each report."""

    invite_prefix: Literal["91", "+91", "+91-", ""] = "91"
    """Signs before the ten digits of a mobile in an invitation: NHA's documents show several."""

    hi_type_key: values.Name = "hiType"
    """Key of the type of records in links: NHA's documents say `hiTypes`, its sandbox takes `hiType`."""

    @property
    def place(self) -> str:
        return self.gateway or GATEWAYS[self.environment]

    @property
    def known_issuer(self) -> str:
        return self.issuer or SANDBOX_ISSUER

    @property
    def is_open(self) -> bool:
        """Whether any address may send callbacks in production."""
        return self.environment == "abdm" and not self.callbacks.allow

    def facility_of(self, channel: str) -> str:
        """The facility whose reports a channel brings; empty: none has it."""
        if len(self.facilities) == 1:
            return next(iter(self.facilities))
        return next((key for key, one in self.facilities.items() if channel in (one.channels or ())), "")

    @property
    def listeners(self) -> tuple[tuple[KeyPath, HostPort, str], ...]:
        return ((("callbacks", "listen"), self.callbacks.listen, "callbacks of ABDM"),)

    def in_clear(self) -> Iterator[tuple[KeyPath, str]]:
        if host := host_in_clear(self.place):
            yield ("gateway",), f"our secret and names of patients go to {host} in clear; {USE_HTTPS}"
        if host := host_in_clear(self.callbacks.url):
            yield ("callbacks", "url"), f"the gateway sends names of patients to {host} in clear; use https://"
        if self.is_open:
            text = "any address may send callbacks, and a token of the gateway that another party has seen proves them"
            yield ("callbacks",), f"{text}; name the addresses of the gateway in `allow`"

    @model_validator(mode="after")
    def _facilities(self) -> Self:
        if self.environment == "abdm" and self.issuer is None:
            raise ValueError(
                "issuer is missing: environment abdm has no known issuer; take `iss` of the gateway's token in "
                "production, as docs/abdm.md says"
            )
        channels = [name for one in self.facilities.values() for name in one.channels or ()]
        if len(self.facilities) > 1:
            without = [key for key, one in self.facilities.items() if one.channels is None]
            if without:
                raise ValueError(f"facilities.{without[0]} needs channels: there are several, and a report is of one")
        elif channels:
            raise ValueError("facilities: a lone one has all channels; take channels out")
        twice = sorted({name for name in channels if channels.count(name) > 1})
        if twice:
            raise ValueError(f"facilities: channel {twice[0]} is in two of them; a report is of one")
        return self


def found_in(destinations: Mapping[str, object]) -> tuple[str, AbdmDestination] | None:
    """The one destination of kind ``abdm`` that a site has, with its name; None: it has none."""
    return next(((name, one) for name, one in destinations.items() if isinstance(one, AbdmDestination)), None)


def facilities_of(destinations: Mapping[str, object]) -> dict[str, str]:
    """The laboratories of a site at ABDM: id -> name."""
    found = found_in(destinations)
    return {facility: said.name for facility, said in found[1].facilities.items()} if found is not None else {}
