"""HTML from snapshots: the overview as parts with ids, so that a live update can send only what changed.

A row whose visible content did not change is not rendered again. Long renderings give the event loop back every
`ROWS_PER_SLICE` rows: acknowledging analyzers comes before drawing a page. Templates, and the library that reads them,
are loaded once there is a reader.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from markupsafe import Markup

from engine.feature import Hook
from engine.model.site.todo import Since
from engine.model.texts.phrases import N_, Phrase
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.web import verdict
from engine.web.cells import Cells, Row
from engine.web.forms import new_number
from engine.web.identity import Person
from engine.web.languages import LANGUAGES, catalogue
from engine.web.menu import menu_of
from engine.web.page_templates import templates
from engine.web.pages.words import Words
from engine.web.rows import Rows

if TYPE_CHECKING:
    import jinja2

ROWS_PER_SLICE = 10
PAGES = ("overview", "error", "confirm", "done", "contents", "system", "messages", "message", "acts", "waiting")
MACROS = (
    *("todo_said", "todo_list", "todo_wall", "strip", "trouble_card", "volume", "caption", "channel", "destination"),
    *("footer", "menu_count"),
)
COMPONENTS = ("ui", "rows", "charts")
LINE_MACROS = ("line_head", "line_lanes", "line_steps", "line_faults", "line_lots")  # of line_parts.html
Shown = tuple[str, bool]  # a language, and whether people's words are shown
STATIC = Path(__file__).parent / "static"
# A template has one name among all folders.
TEMPLATES = (Path(__file__).parent / "templates", *Path(__file__).parents[1].glob("features/*/templates"))


class Waits(Protocol):
    """An entry of the to-do list."""

    @property
    def is_snoozed(self) -> bool: ...


TodoSource = Callable[[], Awaitable[Sequence[Waits]]]


class Strip(NamedTuple):
    """How the overview shows the to-do list.

    Attributes:
        rows: of the entries by cause, with people's words or without.
        looked: what came and went since a person last looked.
    """

    rows: Callable[[Sequence[Any], Words, bool], list[Row]]
    looked: Callable[[Since, Words], Row]


STRIP: Hook[Strip] = Hook("strip")  # of one feature


@dataclass(frozen=True, slots=True)
class Live:
    """The overview at one moment in one language.

    Attributes:
        parts: element id -> its HTML.
        order: table body id -> ids of its rows, in order.
        states: element id -> name and state as text, to be announced when one changes.
        rows: causes on the to-do list, snoozed ones at its end.
        todo: ids of the entries that are not snoozed.
    """

    title: str
    parts: Mapping[str, Markup] = field(default_factory=dict)
    order: Mapping[str, list[str]] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    todo: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Templates:
    """The pages that most readers see, the macros that draw their parts, and the way to the others."""

    environment: "jinja2.Environment"
    pages: Mapping[str, "jinja2.Template"]
    macros: Mapping[str, Callable[..., Markup]]


class Renderer:
    """Turns the current snapshot into `Live` parts and pages; caches the last rendering."""

    def __init__(
        self, snapshot: Callable[[], SiteSnapshot], todo: TodoSource, bell: Callable[[], int] = lambda: 0
    ) -> None:
        """``bell``: the number of open alerts that no person has taken; called in any thread."""
        self._snapshot = snapshot
        self._bell = bell
        self._todo = todo
        self._rows: dict[Shown, dict[str, tuple[object, Markup]]] = {}
        self._last: dict[Shown, tuple[SiteSnapshot, Sequence[Waits], Live]] = {}
        self._lists: dict[tuple[Shown, bool], tuple[object, Markup]] = {}
        self._without_notes: tuple[SiteSnapshot, SiteSnapshot] | None = None
        self._drawing = asyncio.Lock()  # who asks meanwhile waits, and draws nothing twice
        self._templates: Templates | None = None
        self._site_name = ""
        self._counts: Mapping[str, tuple[int, str]] = {}

    async def prepare(self) -> None:
        """Prepare to draw in a thread, where no snapshot may be taken. Templates are loaded at first."""
        site = self._snapshot()
        self._site_name = site.site_name
        self._counts = menu_counts(site)
        if self._templates is None:
            self._templates = await asyncio.to_thread(_load_templates)

    @property
    def templates(self) -> Templates:
        if self._templates is None:
            self._templates = _load_templates()
        return self._templates

    async def live(self, language: str, *, notes: bool = False) -> Live:
        """The parts of the current snapshot; rendered once per snapshot, language, and right to read.

        Args:
            notes: with people's words (`Principal.reads_notes`).
        """
        shown = language, notes
        async with self._drawing:
            site, todos = self._site(notes), await self._todo()
            last = self._last.get(shown)
            if last is not None and last[0] is site and last[1] is todos:
                return last[2]
            live = await self._render(site, todos, shown)
            if last is not None and last[2] == live:
                live = last[2]
            self._last[shown] = (site, todos, live)
            return live

    def overview(
        self, live: Live, language: str, person: Person, *, wall: bool = False, since: Since | None = None
    ) -> str:
        """The whole page.

        Args:
            wall: large, for a screen that people only look at.
            since: what came and went since the person last looked.
        """
        return self.templates.pages["overview"].render(
            **self._around(language, person),
            title=live.title,
            parts=live.parts,
            order=live.order,
            wall=wall,
            todo=None if wall or not person.looks else self._list(live.rows, (language, person.reads_notes), person),
            todo_ids=live.todo,
            todo_count=sum(not row["until"] for row in live.rows),
            looked=None if since is None else _strip().looked(since, self._words(self._snapshot(), language)),
        )

    def _words(self, site: SiteSnapshot, language: str) -> Words:
        return Words(language, catalogue(language), ZoneInfo(site.timezone), site.now)

    def _list(self, rows: Sequence[Row], shown: Shown, person: Person) -> Markup:
        """The to-do list; made once for all persons who see the same."""
        known = self._lists.get((shown, person.acts))
        if known is None or known[0] != rows:
            html = self.templates.macros["todo_list"](rows, person.acts, _translate(shown[0]))
            known = self._lists[shown, person.acts] = rows, html
        return known[1]

    def _site(self, notes: bool) -> SiteSnapshot:
        """The present snapshot as these readers see it; the same object until there is a new one."""
        site = self._snapshot()
        if notes:
            return site
        if self._without_notes is None or self._without_notes[0] is not site:
            self._without_notes = site, site.without_notes()
        return self._without_notes[1]

    def parts(self, language: str, cells: Cells, macros: Sequence[str], row: object) -> dict[str, Markup]:
        """The elements that these macros of `LINE_MACROS` make of a row, by their ids, and the footer of the page."""
        say = _translate(language)
        made = {macro.replace("_", "-"): self.templates.macros[macro](row, say) for macro in macros}
        made |= {key: self.templates.macros["menu_count"](one, say) for key, one in _counted(cells.site).items()}
        return made | {"footer": self.templates.macros["footer"](Rows(cells).footer(), say)}

    def draw(self, name: str, language: str, person: Person, values: Mapping[str, Any]) -> str:
        """The page of a template, which is read at its first use: call this in a thread."""
        template = self.templates.environment.get_template(f"{name}.html")
        return template.render(**self._around(language, person), **values)

    def _around(self, language: str, person: Person) -> dict[str, Any]:
        """The values that every page needs."""
        return {
            "language": language,
            "languages": LANGUAGES,
            "site_name": self._site_name,
            "person": person,
            "menu": menu_of(person),
            "menu_counts": self._counts,
            "bell": self._bell() if person.looks else 0,
            "_": _translate(language),
        }

    def error(self, language: str, person: Person, status: int, message: str) -> str:
        """An error page, without internal details."""
        around = self._around(language, person)
        return self.templates.pages["error"].render(**around, status=status, message=around["_"](message))

    async def _render(self, site: SiteSnapshot, todos: Sequence[Waits], shown: Shown) -> Live:
        language, notes = shown
        say = _translate(language)
        overview = Rows(Cells(site, catalogue(language), language))
        words = self._words(site, language)
        before, rows = self._rows.get(shown, {}), dict[str, tuple[object, Markup]]()
        order: dict[str, list[str]] = {}

        def draw(key: str, macro: str, row: object) -> None:
            known = before.get(key)
            rows[key] = (
                known if known is not None and known[0] == row else (row, self.templates.macros[macro](row, say))
            )

        channels = []
        for drawn, channel in enumerate(site.channels, start=1):
            channels.append(overview.channel(channel))
            draw(channels[-1]["id"], "channel", channels[-1])
            if drawn % ROWS_PER_SLICE == 0:
                await asyncio.sleep(0)
        destinations = [overview.destination(one) for one in site.destinations]
        for one in destinations:
            draw(one["id"], "destination", one)
        entries = _strip().rows(todos, words, notes)
        strip = verdict.strip(overview.cells, entries, channels)
        for entry in entries:
            draw(entry["said"]["id"], "todo_said", entry["said"])
        open_ones = [row for row in entries if not row["until"]]
        made = {"strip": strip, "trouble": strip["trouble"], "volume": None if strip["trouble"] else overview.volume()}
        for key, row in (made | {"footer": overview.footer(), "todo-wall": open_ones}).items():
            draw(key, "trouble_card" if key == "trouble" else key.replace("-", "_"), row)
        tables = (("channels", N_("Analyzers"), channels), ("destinations", N_("Where results go"), destinations))
        for table, title, found in tables:
            order = order | {table: [row["id"] for row in sorted(found, key=itemgetter("rank"))]}
            key = f"{table}-caption"
            draw(key, "caption", {"id": key, "title": say(title), "summary": overview.summary(found)})
        for key, counted in _counted(site).items():
            draw(key, "menu_count", counted)
        self._rows[shown] = rows
        parts = {key: html for key, (_, html) in rows.items()}
        title = f"{strip['headline']} · {site.site_name} · LabRelay"
        todo = [key for row in open_ones for key in row["ids"]]
        return Live(title, parts, order, overview.state_words(), entries, todo)


def menu_counts(site: SiteSnapshot) -> dict[str, tuple[int, str]]:
    """What waits on the pages of the menu: how much, and its level."""
    return {
        "/dead-letters": (site.dead_total, "attention"),
        "/held": (sum(one.held for one in site.destinations), "problem"),
        "/codes": (site.unmapped_total, "attention"),
    }


def _counted(site: SiteSnapshot) -> dict[str, tuple[str, int, str]]:
    """The same as parts of a page, in the panel and at the foot of a phone: id -> id, count, level."""
    places = [(f"{nav}{path}", *of) for path, of in menu_counts(site).items() for nav in ("pages", "thumb")]
    return {one[0]: one for one in places}


def _strip() -> Strip:
    (found,) = STRIP.each()
    return found


@cache
def static_url(name: str) -> str:
    """The address of a static file with its content's hash, so that browsers may cache it without a time limit."""
    digest = hashlib.blake2b((STATIC / name).read_bytes(), digest_size=6).hexdigest()
    return f"/static/{name}?v={digest}"


@cache
def _translate(language: str) -> Callable[[str], str]:
    known = catalogue(language)
    return cache(lambda text: Phrase(text).say(known))  # the templates' own sentences: a bounded number


@cache
def _load_templates() -> Templates:
    """One for all of a process: they are files of ours."""
    environment = templates(*TEMPLATES)
    environment.globals["static"] = static_url
    environment.globals["number_once"] = new_number
    for included in ("components/frame.html", "icons.svg"):
        environment.get_template(included)
    environment.globals["ui"] = ui = SimpleNamespace()
    for of in COMPONENTS:
        vars(ui).update(vars(environment.get_template(f"components/{of}.html").module))
    pieces, of_lines = (environment.get_template(name).module for name in ("parts.html", "line_parts.html"))
    return Templates(
        environment,
        {name: environment.get_template(f"{name}.html") for name in PAGES},
        {name: getattr(pieces, name) for name in MACROS} | {name: getattr(of_lines, name) for name in LINE_MACROS},
    )
