"""The ``web:`` of a site: where its page answers, to whom, and how long a log-in lasts."""

from dataclasses import replace
from datetime import time
from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from engine.config.reading.values import Address, Duration, Flag, Model, Networks, Texts, TimesOfDay
from engine.config.tls import ServerTls
from engine.model.texts.units import HostPort

AT_START = ("enabled", "listen", "tls")  # keys that take effect at the next start


class WebConfig(Model):
    """The status page."""

    enabled: Flag = True
    """`false`: no page, no `/status.json`, no `/metrics`."""

    listen: Address = HostPort("127.0.0.1", 8580)
    """Address of the page. One that other machines reach needs `tls` and a user; until there is a user, the page
    answers on 127.0.0.1 alone, on the same port."""

    tls: ServerTls | None = None
    """TLS of the page. Its files are read again when they change: a renewed certificate needs no restart."""

    allow: Networks = ()
    """Addresses and networks that may connect, as `10.1.2.3` or `10.1.2.0/24`; others are ended at once. This machine
    always may. By default any."""

    relays: Networks = ()
    """Addresses of relays before this machine. Where a connection comes from one, log-ins and audit trail have the last
    address of `X-Forwarded-For`; from any other address that header counts for nothing."""

    names: Texts = ()
    """Names under which the page answers, besides those of its certificate and of this machine. A request under
    another name is refused."""

    idle: Duration = Field(default=1800.0, ge=60, le=86_400)
    """A log-in ends after so long without a request of the person."""

    session: Duration = Field(default=43_200.0, ge=300, le=7 * 86_400)
    """A log-in ends after so long, however busy the person is."""

    shifts: TimesOfDay = (time(6), time(14), time(22))
    """Times of day at which a shift begins, on the site's clock, as `[06:00, 14:00, 22:00]`: for the report of a shift,
    and for what is put off until the end of it."""

    hsts: Duration = Field(default=365 * 86_400.0, ge=0, le=730 * 86_400)
    """How long a browser that has been here uses TLS alone for this host, on all its ports (RFC 6797), and takes no
    untrusted certificate any more; only where the page has TLS and a name, not an address. `0`: browsers forget it."""

    @property
    def address(self) -> str:
        """The page's URL."""
        return f"{'http' if self.tls is None else 'https'}://{self.listen}/"

    @property
    def public_address(self) -> str:
        """The one address, without a path, under which an identity provider knows the page; empty: it has no name."""
        name = next((one for one in self.names if not one.startswith("*")), "")
        if not name and self.listen.is_every_interface:
            return ""
        scheme, usual = ("http", 80) if self.tls is None else ("https", 443)
        place = str(replace(self.listen, host=name or self.listen.host))
        return f"{scheme}://{place.removesuffix(f':{usual}')}"

    @property
    def beyond_this_machine(self) -> str:
        """As `public_address`; empty, too, where only this machine can use it."""
        return self.public_address if self.enabled and (self.names or not self.listen.is_loopback) else ""

    @property
    def local_address(self) -> str:
        """The page's URL for a browser on this machine."""
        here = self.listen if self.listen.is_loopback else replace(self.listen, host="127.0.0.1")
        return f"{'http' if self.tls is None else 'https'}://{here}/"

    @model_validator(mode="after")
    def _in_clear_on_this_machine_only(self) -> Self:
        if self.tls is None and not self.listen.is_loopback:
            raise PydanticCustomError(
                "page_in_clear",
                "other machines can reach {listen}, and passwords would go there in clear; add tls: (cert, key), or "
                "listen on 127.0.0.1 and go through an SSH tunnel",
                {"listen": str(self.listen)},
            )
        return self
