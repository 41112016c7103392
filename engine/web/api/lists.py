"""What can be read, as it is declared: a list or a document with its address, its arguments, and the view of its rows.

Each is declared once: the API with its pages of rows, the OpenAPI document and the help follow. Those of the features
come by the hook ``lists``.

What the API reads from, as the running site gives it.

The table of what can be read: what features declare, and what is of no feature: for each address its permissions,
and the function of `engine.web.api.reads`. That module is imported once there is a request.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import UTC, datetime, time, tzinfo
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

from engine.feature import Hook
from engine.mapping.code_tables.suggestions import Suggestion
from engine.model.errors import ProblemError
from engine.model.journal.journal_views import Filter
from engine.model.process.clock import instant_us
from engine.model.routes import ChannelRoutes
from engine.model.site.permissions import ADMINISTERING, LOOKING, Permission, Principal
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.queries.reader import Reader
from engine.views.messages import DELIVERY, MESSAGE
from engine.views.site import COPY, PAUSE, STORED_LANE
from engine.views.view import View, picked
from engine.web.api.parameters import Nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """
    Attributes:
        journal: with a deadline for each query.
        present: the snapshot.
        zone: the site's.
        backups: the folder of copies; None: the site has none.
        routes: the compiled routes in force, by channel.
        suggestions: what the pack of a channel suggests for codes, or each pack that a channel names; reads files, or
            raises ConfigError.
        shifts: when those of the site begin.
        reached: another object, or number, once the journal has anything new; by default each time.
    """

    journal: Reader
    present: "Present"
    zone: tzinfo
    backups: Callable[[], Path | None]
    routes: Callable[[], Mapping[str, ChannelRoutes]]
    suggestions: Callable[[str | None], Sequence[Suggestion]] = lambda channel: ()
    reached: Callable[[], object] = object
    shifts: Callable[[], Sequence[time]] = lambda: (time(),)


class Present:
    """The snapshot as data, made once for each: of 500 channels in some 50 ms, so in a thread.

    Args:
        snapshot: the same object until there is a new one.
    """

    def __init__(self, snapshot: Callable[[], SiteSnapshot]) -> None:
        self.snapshot = snapshot
        self._made: dict[bool, tuple[SiteSnapshot, Mapping[str, Any]]] = {}

    def data(self, of: SiteSnapshot, *, notes: bool) -> Mapping[str, Any]:
        """``notes``: with people's words about pauses (`Principal.reads_notes`)."""
        made = self._made.get(notes)
        if made is None or made[0] is not of:
            made = self._made[notes] = of, (of if notes else of.without_notes()).to_json()
        return made[1]


A = TypeVar("A", bound=Nothing, covariant=True)
Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked(Generic[A]):
    """A request: who asks for what.

    Attributes:
        snapshot: the present one; it is not asked for in a thread.
        before: of a list in pages, rows with a lower key only. ``limit``: at most so many.
    """

    sources: Sources
    snapshot: SiteSnapshot
    arguments: A
    principal: Principal
    before: int | None = None
    limit: int = 0

    @property
    def journal(self) -> Reader:
        return self.sources.journal

    @property
    def now_us(self) -> int:
        return int(datetime.now(UTC).timestamp() * 1_000_000)

    @property
    def site(self) -> Mapping[str, Any]:
        """The snapshot as data."""
        return self.sources.present.data(self.snapshot, notes=self.principal.reads_notes)

    def times(self) -> tuple[int | None, int | None]:
        """From, and before, in microseconds: of the arguments ``since`` and ``until``."""
        return self._instant("since"), self._instant("until")

    def _instant(self, name: str) -> int | None:
        text = getattr(self.arguments, name)
        if text is None:
            return None
        try:
            found = instant_us(text, self.sources.zone, datetime.now(UTC))
            if not 0 <= found < 2**62:
                raise ValueError("it is before 1970")
        except ValueError as error:
            errors = [{"parameter": name, "detail": str(error)}]
            raise ProblemError("arguments", f"wrong: {name}", errors=errors) from None
        return found

    def filter(self, **more: Any) -> Filter:
        """Of messages or letters."""
        after, until = self.times()
        return Filter(**picked(self.arguments, "channel destination code"), after_us=after, before_us=until, **more)


@dataclass(frozen=True, slots=True)
class Resource:
    """One address that is read: a list, or another document.

    Attributes:
        read: its function, or the name of one of `engine.web.api.reads`; its arguments are those of the address. It
            returns the rows of a list, the newest first where they come in pages; else the document.
        view: of the rows of a list.
        key: the attribute with the number of a row, by which a list comes in pages; empty: it comes whole.
        together: rows of one key stay together: a page has ``limit`` rows or more, unless it is the last.
        verb: of the command line that shows the list.
        in_memory: it is made once for each snapshot; else it is read in a thread.
        of_post: asked by POST, so that its arguments are in the body, and in no address.
        place: its place in documents, the lowest first; 0: behind the one that is declared before it.
    """

    path: str
    what: str
    read: str | Callable[[Asked[Any]], Any]
    view: View[Any] | None = None
    _: KW_ONLY
    key: str = ""
    together: bool = False
    verb: str = ""
    needs: frozenset[Permission] = LOOKING
    in_memory: bool = False
    of_post: bool = False
    place: int = 0

    @property
    def name(self) -> str:
        return self.read if isinstance(self.read, str) else self.read.__name__


DECLARED: Hook[Sequence[Resource]] = Hook("lists")


ROOT = "/api/v1"


@dataclass(frozen=True, slots=True)
class Question:
    """One address that a verb of the control socket answers, with the verb's own arguments and permissions."""

    path: str
    what: str
    verb: str


CONTENTS = "/messages/{message}/contents"
EVENTS = "/events"
QUESTIONS = (
    Question("/operations/{number}/wait", "why an operation under way waits just now", "operation_waits"),
    Question("/todo", "everything that waits for a person, worst first", "todo"),
)
OF_NO_FEATURE: Sequence[Resource] = (
    Resource("/status", "the state of the site, as `labrelay status`", "status", in_memory=True, place=10),
    Resource("/channels", "each channel now", "channels", in_memory=True),
    Resource("/destinations", "each destination now", "destinations", in_memory=True),
    Resource("/version", "versions of the program and its parts", "version"),
    Resource("/messages", "messages, newest first", "messages", MESSAGE, key="id", place=20),
    Resource(
        "/message-search",
        "messages as above, asked by POST, so that no number is in an address; also by a patient's number",
        "message_search",
        MESSAGE,
        key="id",
        of_post=True,
    ),
    Resource("/messages/{message}", "one message with its states, documents, deliveries, attempts and acts", "message"),
    Resource(
        "/messages/{message}/deliveries",
        "the deliveries of one message, each with its failed attempts",
        "deliveries",
        DELIVERY,
    ),
    Resource("/messages/{message}/wire", "the frames of one message on the line, in and out, masked", "wire"),
    Resource(
        "/lanes", "waiting, held and dead deliveries of each channel and destination", "lanes", STORED_LANE, place=70
    ),
    Resource("/pauses", "pauses that a person has set", "pauses", PAUSE, place=90),
    Resource(
        "/acts",
        "the audit trail, newest first; a person's reasons may name a patient",
        "acts",
        needs=ADMINISTERING,
        place=140,
    ),
    Resource("/backups", "copies of the journal", "backups", COPY, needs=ADMINISTERING),
)


@cache
def resources() -> Sequence[Resource]:
    """All, by their places in documents."""
    found = []
    for declared in (OF_NO_FEATURE, *DECLARED.each()):
        place = 0
        for one in declared:
            place = one.place or place
            found.append((place, one))
    return tuple(one for _, one in sorted(found, key=itemgetter(0)))
