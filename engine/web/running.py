"""All that the pages ask of the running daemon; beside it they have the journal and the configuration."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import Metric

from engine.actions.kept import KeptActs
from engine.model.site.todo import Since
from engine.monitoring.ends import Ends, NoEnds
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.web.identity import Accounts
from engine.web.render import TodoSource
from engine.web.routes import Route

Ask = Callable[..., Awaitable[Any]]
"""What it is about, and its arguments, as of `engine.web.apart.answered`."""


class LookAtList(Protocol):
    """``user``: the id. ``by_person``: the user has opened the page; one that renews itself is no look."""

    def __call__(self, user: int, *, by_person: bool) -> Awaitable[Since | None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """
    Attributes:
        snapshot: cheap, returns the same object until there is a new one.
        missing: the reasons why messages cannot be taken yet, one sentence each; empty when ready.
        metrics: those of ``/metrics``.
        todo: the to-do list; the same object until it changes.
        bell: the number of open alerts that no person has taken; called in any thread.
        look: a user sees the list; what came and went since the visit before.
        ends: looks at both ends of a line.
        acts: of the control socket; None: there are none.
        accounts: who may come in; None: each user of this machine, to look.
        ask: asks the daemon for the request that is drawn; None: this process is the daemon.
    """

    snapshot: Callable[[], SiteSnapshot]
    missing: Callable[[], Sequence[str]]
    metrics: Callable[[], Iterable[Metric]]
    todo: TodoSource
    bell: Callable[[], int] = lambda: 0
    look: LookAtList | None = None
    ends: Ends = field(default_factory=NoEnds)
    acts: KeptActs | None = None
    accounts: Accounts | None = None
    ask: Ask | None = None


class Apart(Protocol):
    """The process that draws pages, and documents of the API.

    Attributes:
        fault: a sentence for the page; empty: none.
    """

    @property
    def fault(self) -> str: ...
    async def draw(
        self, request: web.Request, route: Route, running: Running, since: Since | None, tell: Ask
    ) -> web.Response | None:
        """The answer; None: there is no such process just now, or it has no part that this request needs.

        Args:
            tell: answers what it asks for this request.
        """
        ...

    def events(self, request: web.Request, running: Running, last: str) -> AsyncGenerator[bytes, None] | None:
        """The live updates, as of `engine.web.feed.Feed`; they end with the process. None: as above."""
        ...

    def leave(self) -> None:
        """End them, and draw nothing more: the server stops."""
        ...
