"""Alerts to a web service with a text of the site's own (`adapters.clients.http.templated`).

2xx          taken, where the answer also has the text of ``taken``
400, 422 ..  refused: the text does not fit the service
all else     tried again
"""

from collections.abc import Sequence

from adapters.clients.http.templated import Settings, TemplatedRequests
from engine.model.process.clock import Clock
from engine.model.site.alerts import Notification


class HttpSink:
    """See `engine.model.ports.AlertSink`."""

    def __init__(self, name: str, config: Settings, clock: Clock) -> None:
        self._requests = TemplatedRequests(name, config, clock)

    async def start(self) -> None:
        await self._requests.start()

    async def send(self, notification: Notification) -> Sequence[str]:
        await self._requests.send(notification.values, notification.id)
        return ()

    async def probe(self) -> None:
        await self._requests.probe()

    async def close(self) -> None:
        await self._requests.close()


def build(name: str, config: Settings, clock: Clock) -> HttpSink:
    """The sink ``name`` of a site.

    Raises:
        ConfigError: a certificate or key file cannot be used.
    """
    return HttpSink(name, config, clock)
