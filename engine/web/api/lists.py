"""What can be read, as it is declared: a list or a document with its address, its arguments, and the view of its rows.

A list is declared once, as a `Listed`: the API and its OpenAPI document, the help, and its pages of rows follow. Those
of the features come by the hook ``lists``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, TypeVar

from engine.feature import Hook
from engine.model.errors import ProblemError
from engine.model.instants import instant_us
from engine.model.journal_views import Filter
from engine.model.permissions import LOOKING, Permission, Principal
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.queries.reader import Reader
from engine.views.view import View
from engine.web.api.paging import cursor_of, numbers_in
from engine.web.api.parameters import Nothing
from engine.web.api.sources import Sources

A = TypeVar("A", bound=Nothing, covariant=True)
T = TypeVar("T")
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
        given: Any = self.arguments
        after, until = self.times()
        return Filter(
            channel=given.channel,
            destination=given.destination,
            code=given.code,
            after_us=after,
            before_us=until,
            **more,
        )


@dataclass(frozen=True, slots=True)
class Resource:
    """One address that is read.

    Attributes:
        read: its function, or the name of one of `engine.web.api.reads`; its arguments are those of the address.
        in_memory: it is made once for each snapshot; else it is read in a thread.
        of_post: asked by POST, so that its arguments are in the body, and in no address.
        place: where it stands in documents, the lowest first; 0: behind the one that is declared before it.
    """

    path: str
    what: str
    read: str | Callable[[Asked[Any]], Document]
    _: KW_ONLY
    needs: frozenset[Permission] = LOOKING
    in_memory: bool = False
    of_post: bool = False
    place: int = 0

    @property
    def asks(self) -> str | Callable[[Asked[Any]], Any]:
        """The function whose argument says the model of the arguments."""
        return self.read

    @property
    def name(self) -> str:
        return self.read if isinstance(self.read, str) else self.read.__name__


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """A list.

    Attributes:
        path: its address; ``what`` it is, ``place``: as of a `Resource`.
        rows: reads them, the newest first where they come in pages; its name is that of the operation.
        key: the attribute with the number of a row, by which the list comes in pages; empty: it comes whole.
        together: rows of one key stay together: a page has ``limit`` rows or more, unless it is the last.
        verb: of the command line that shows it.
    """

    path: str
    what: str
    view: View[T]
    rows: Callable[[Asked[Any]], Sequence[T]]
    _: KW_ONLY
    key: str = ""
    together: bool = False
    verb: str = ""
    place: int = 0
    needs: ClassVar[frozenset[Permission]] = LOOKING
    in_memory: ClassVar[bool] = False
    of_post: ClassVar[bool] = False

    @property
    def asks(self) -> Callable[[Asked[Any]], Any]:
        return self.rows

    @property
    def name(self) -> str:
        return self.rows.__name__

    def read(self, asked: Asked[Any]) -> Document:
        name = self.view.name
        if not self.key:
            return {name: self.view.rows(self.rows(asked))}
        limit, cursor = asked.arguments.limit, asked.arguments.cursor
        before = numbers_in(cursor, name)[0] if cursor else None
        found = self.rows(replace(asked, before=before, limit=limit if self.together else limit + 1))
        shown, more = (found, len(found) >= limit) if self.together else (found[:limit], len(found) > limit)
        return {name: self.view.rows(shown), "cursor": cursor_of(name, getattr(shown[-1], self.key)) if more else None}


Readable = Resource | Listed[Any]
DECLARED: Hook[Sequence[Readable]] = Hook("lists")
