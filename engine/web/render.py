"""HTML from snapshots: the overview as parts with ids, so that a live update can send only what changed.

A row whose visible content did not change is not rendered again. Long renderings give the event loop back every
`ROWS_PER_SLICE` rows: acknowledging analyzers comes before drawing a page. Templates, and the library that reads them,
are loaded once there is a reader.
"""

import asyncio
import hashlib
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from markupsafe import Markup

from engine.model.phrases import Phrase
from engine.model.records import ReagentView
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.web.access.person import Person
from engine.web.cells import Cells
from engine.web.forms import new_number
from engine.web.languages import DEFAULT, LANGUAGES, catalogue
from engine.web.line_rows import lots
from engine.web.rows import Rows, worst_first

if TYPE_CHECKING:
    import jinja2

ROWS_PER_SLICE = 25
LISTS = (
    "messages",
    "message",
    "dead_letters",
    "dead_letters_each",
    "held",
    "codes",
    "acts",
    "system",
    "shift",
    "waiting",
)
PAGES = ("overview", "reagents", "error", "confirm", "done", "contents", "system", "shift", *LISTS)
MACROS = ("strip", "caption", "channel", "destination", "footer")
LINE_MACROS = ("line_head", "line_lanes", "line_steps", "line_faults", "line_lots")  # of line_parts.html
STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True)
class Live:
    """The overview at one moment in one language.

    Attributes:
        parts: element id -> its HTML.
        order: table body id -> ids of its rows, in order.
        states: element id -> name and state as text, to be announced when one changes.
    """

    title: str
    parts: Mapping[str, Markup] = field(default_factory=dict)
    order: Mapping[str, list[str]] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Templates:
    """The pages that most readers see, the macros that draw their parts, and the way to the others."""

    environment: "jinja2.Environment"
    pages: Mapping[str, "jinja2.Template"]
    macros: Mapping[str, Callable[..., Markup]]


class Renderer:
    """Turns the current snapshot into `Live` parts and pages; caches the last rendering."""

    def __init__(self, snapshot: Callable[[], SiteSnapshot]) -> None:
        self._snapshot = snapshot
        self._rows: dict[str, dict[str, tuple[object, Markup]]] = {language: {} for language in LANGUAGES}
        self._last: dict[str, tuple[SiteSnapshot, Live]] = {}
        self._drawing = asyncio.Lock()  # who asks meanwhile waits, and draws nothing twice
        self._templates: Templates | None = None
        self._site_name = ""

    async def prepare(self) -> None:
        """Prepare to draw in a thread, where no snapshot may be taken. Templates are loaded at first, in some 70 ms."""
        self._site_name = self._snapshot().site_name
        if self._templates is None:
            self._templates = await asyncio.to_thread(_load_templates)

    @property
    def templates(self) -> Templates:
        if self._templates is None:
            self._templates = _load_templates()
        return self._templates

    async def live(self, language: str) -> Live:
        """The parts of the current snapshot; rendered once per snapshot and language."""
        async with self._drawing:
            site = self._snapshot()
            last = self._last.get(language)
            if last is not None and last[0] is site:
                return last[1]
            live = await self._render(site, language)
            if last is not None and last[1] == live:
                live = last[1]
            self._last[language] = (site, live)
            return live

    def overview(self, live: Live, language: str, person: Person, *, wall: bool = False) -> str:
        """The whole page. ``wall``: large, for a screen that people only look at."""
        return self.templates.pages["overview"].render(
            **self._around(language, person), title=live.title, parts=live.parts, order=live.order, wall=wall
        )

    def parts(self, language: str, cells: Cells, macros: Sequence[str], row: object) -> dict[str, Markup]:
        """The elements that these macros of `LINE_MACROS` make of a row, by their ids, and the footer of the page."""
        say = _translate(language)
        made = {macro.replace("_", "-"): self.templates.macros[macro](row, say) for macro in macros}
        return made | {"footer": self.templates.macros["footer"](Rows(cells).footer(), say)}

    def reagents(
        self,
        language: str,
        asked: tuple[str, str],
        found: Sequence[ReagentView],
        person: Person,
        trouble: str = "",
    ) -> str:
        """The search page for lots.

        Args:
            asked: lot and channel, either may be empty.
            trouble: why there is no result.
        """
        site = self._snapshot()
        say = _translate(language)
        lot, channel = asked
        query = urlencode({name: value for name, value in (("lot", lot), ("channel", channel)) if value})
        return self.templates.pages["reagents"].render(
            **self._around(language, person, f"&{query}" if query else ""),
            lot=lot,
            shown_lot=shlex.quote(lot),
            channel=channel,
            channels=sorted(one.name for one in site.channels),
            rows=lots(Cells(site, catalogue(language), language), found),
            trouble=say(trouble) if trouble else "",
        )

    def draw(self, name: str, language: str, person: Person, query: str, values: Mapping[str, Any]) -> str:
        """The page of a template, which is read at its first use: call this in a thread.

        Args:
            query: kept by the links that change the language.
        """
        template = self.templates.environment.get_template(f"{name}.html")
        return template.render(**self._around(language, person, query), **values)

    def _around(self, language: str, person: Person, query: str = "") -> dict[str, Any]:
        """The values that every page needs; ``query`` is kept by the links that change the language."""
        return {
            "language": language,
            "languages": LANGUAGES,
            "site_name": self._site_name,
            "person": person,
            "query": query,
            "_": _translate(language),
        }

    def error(self, language: str, status: int, message: str) -> str:
        """An error page, without internal details."""
        say = _translate(language)
        return self.templates.pages["error"].render(language=language, status=status, message=say(message), _=say)

    async def _render(self, site: SiteSnapshot, language: str) -> Live:
        say = _translate(language)
        overview = Rows(Cells(site, catalogue(language), language))
        before, rows = self._rows[language], dict[str, tuple[object, Markup]]()
        order: dict[str, list[str]] = {"channels": [], "destinations": []}

        def draw(key: str, macro: str, row: object) -> None:
            known = before.get(key)
            rows[key] = (
                known if known is not None and known[0] == row else (row, self.templates.macros[macro](row, say))
            )

        for drawn, channel in enumerate(worst_first(site.channels), start=1):
            channel_row = overview.channel(channel)
            order["channels"].append(channel_row["id"])
            draw(channel_row["id"], "channel", channel_row)
            if drawn % ROWS_PER_SLICE == 0:
                await asyncio.sleep(0)
        for destination in worst_first(site.destinations):
            destination_row = overview.destination(destination)
            order["destinations"].append(destination_row["id"])
            draw(destination_row["id"], "destination", destination_row)
        draw("strip", "strip", overview.strip())
        draw("footer", "footer", overview.footer())
        self._rows[language] = rows
        parts = {key: html for key, (_, html) in rows.items()}
        for table, title, items in (
            ("channels", "Analyzers", site.channels),
            ("destinations", "Destinations", site.destinations),
        ):
            key = f"{table}-caption"
            parts[key] = self.templates.macros["caption"](key, say(title), overview.summary(items))
        headline = site.overall().phrase.say(catalogue(language))
        return Live(f"{headline} · {site.site_name} · LabRelay", parts, order, overview.state_words())


@cache
def static_url(name: str) -> str:
    """The address of a static file with its content's hash, so that browsers may cache it without a time limit."""
    digest = hashlib.blake2b((STATIC / name).read_bytes(), digest_size=6).hexdigest()
    return f"/static/{name}?v={digest}"


@cache
def _translate(language: str) -> Callable[[str], str]:
    known = catalogue(language) if language in LANGUAGES else catalogue(DEFAULT)
    return cache(lambda text: Phrase(text).say(known))  # the templates' own sentences: a bounded number


def _load_templates() -> Templates:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static"] = static_url
    environment.globals["number_once"] = new_number
    for included in ("top.html", "forms.html", "icons.svg"):
        environment.get_template(included)
    parts, of_lines = (environment.get_template(name).module for name in ("parts.html", "line_parts.html"))
    return Templates(
        environment,
        {name: environment.get_template(f"{name}.html") for name in PAGES},
        {name: getattr(parts, name) for name in MACROS} | {name: getattr(of_lines, name) for name in LINE_MACROS},
    )
