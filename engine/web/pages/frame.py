"""What every page needs: a thread for its reading and drawing, words, and an answer also where reading fails.

The journal is read in threads, a few at a time, each query with a deadline: a page can never delay an acknowledgment.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import time
from functools import partial
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

from aiohttp import hdrs, web
from markupsafe import Markup

from engine.actions.control import Request
from engine.actions.declaring import Verb
from engine.config.web import WebConfig
from engine.mapping.code_tables.suggestions import Suggestion
from engine.model import errors
from engine.model.routes import ChannelRoutes
from engine.model.site.permissions import SEEING_PATIENTS, Principal
from engine.model.texts.phrases import N_, PageText, phrase_of
from engine.monitoring.snapshot.site import SiteSnapshot
from engine.store.queries.reader import Reader
from engine.web.bodies import Body, answer, html, prepared
from engine.web.cells import Cells
from engine.web.desk import Desk, Redraw, sentence
from engine.web.forms import Form
from engine.web.guard import UNREADABLE
from engine.web.identity import language_of, person_of
from engine.web.languages import catalogue
from engine.web.pages.words import Words
from engine.web.render import Renderer
from engine.web.routes import PRINCIPAL, Route
from engine.web.running import Running

AT_ONCE = 2  # pages that are read at the same time
TOO_SLOW = N_("This takes longer than {n} seconds. Narrow it: a shorter time, one analyzer.")
LOCKED = N_("The key of the journal is not at hand, so this cannot be shown.")
DAMAGED = N_(
    "A part of it is damaged. `labrelay verify` says which rows. A backup may have it whole, or the analyzer can send "
    "it again."
)

Channels = Callable[[], Mapping[str, ChannelRoutes]]
Trial = Callable[[str, str, str, str, str], Awaitable[Mapping[str, Any]]]
"""(channel, mapping, edited text of it, message, character set) -> what became of it."""
Suggestions = Callable[[str], Sequence[Suggestion]]
Values = Mapping[str, Any]
Handler = Callable[..., Awaitable[web.StreamResponse]]
"""Of a frame and a request."""


class Loaded(NamedTuple):
    """The configuration in force, for pages.

    Attributes:
        channels: the compiled routes, by channel: they read the fields of a message.
        configured: its hash, code tables included.
        suggestions: what the pack of a channel's analyzer suggests for codes; reads its file, or raises ConfigError.
        changed_files: names of files of the configuration that are not those that run; reads them all.
        trial: tries a mapping; None: there is no page for it.
    """

    channels: Channels = dict
    configured: Callable[[], str] = str
    suggestions: Suggestions = lambda channel: ()
    changed_files: Callable[[], Sequence[str]] = list
    trial: Trial | None = None


NOTHING_LOADED = Loaded()


class Asking(NamedTuple):
    """Who asks for a page, and how.

    Attributes:
        found: the values of its address's path.
        may: the verbs that this one may give here.
        shifts: times of day at which a shift begins.
    """

    query: Mapping[str, str]
    found: Mapping[str, str]
    principal: Principal
    words: Words
    site: SiteSnapshot
    may: frozenset[str]
    shifts: Sequence[time]


class Page(NamedTuple):
    """A page as it is before anything was read.

    Attributes:
        template: its name.
        values: for the template.
        wrong: why the address cannot be read as it is; empty: it can.
    """

    template: str
    values: Values
    wrong: str = ""


class Gone(NamedTuple):
    """The thing that a page is about is not there.

    Attributes:
        why: one sentence.
    """

    why: str


class Frame:
    """Shows pages of one site.

    Attributes:
        desk: takes the forms of persons.
        config: ``web:`` of the configuration in force.
        looks: log-in and message -> purpose stated for contents (`engine.web.pages.doing`); by ``looking``.
    """

    def __init__(
        self,
        reader: Reader,
        renderer: Renderer,
        running: Running,
        loaded: Loaded,
        desk: Desk,
        config: Callable[[], WebConfig],
    ) -> None:
        self.running = running
        self.loaded = loaded
        self.channels = loaded.channels
        self.desk = desk
        self.config = config
        self.acts = running.acts
        self.verbs: Mapping[str, Verb] = running.acts.verbs if running.acts is not None else {}
        self.looks: OrderedDict[tuple[str, int], str] = OrderedDict()
        self.looking = asyncio.Lock()
        self._reader = reader
        self._renderer = renderer
        self._reading = asyncio.Semaphore(AT_ONCE)

    def asking(self, request: web.Request) -> Asking:
        site = self.running.snapshot()
        language = language_of(request)
        principal = request[PRINCIPAL]
        site = site if principal.reads_notes else site.without_notes()
        words = Words(language, catalogue(language), ZoneInfo(site.timezone), site.now)
        may = frozenset(name for name, verb in self.verbs.items() if principal.may(verb.needs))
        query = {
            **request.query,
            "columns": ",".join(request.query.getall("columns", ())),
        }  # one for each tick of a form
        return Asking(query, request.match_info, principal, words, site, may, self.config().shifts)

    def why_not(self, error: errors.StoreError | errors.ConfigError, words: Words) -> tuple[int, str]:
        """The status and the sentence where the journal cannot be read."""
        match error:
            case errors.AbsentError() | errors.ErasedError():
                return 404, told(error, words)
            case errors.TooSlowError():
                return 503, words.say(TOO_SLOW, n=round(self._reader.deadline_s))
            case errors.ConfigError():
                return 503, words.say(LOCKED)
            case errors.IntegrityError():
                return 500, words.say(DAMAGED)
        return 503, words.say(UNREADABLE)

    def parts(self, asking: Asking, cells: Cells, macros: Sequence[str], row: object) -> dict[str, Markup]:
        """Elements of a page, by their ids (`Renderer.parts`); call this in a thread."""
        return self._renderer.parts(asking.words.language, cells, macros, row)

    def refused(self, request: web.Request, error: errors.LabRelayError) -> tuple[int, str]:
        """The status and the sentence where a verb was refused, or could not read the journal."""
        if isinstance(error, (errors.StoreError, errors.KeyAbsentError)):
            return self.why_not(error, self.asking(request).words)
        return self.desk.refused(request, error)

    def forms(self, path: str, verb: str, take: Handler, ask: Handler | None = None) -> Sequence[Route]:
        """The routes of a form that gives a verb; none where there is no such verb."""
        if verb not in self.verbs:
            return ()
        needs = self.verbs[verb].needs
        taken = Route(path, partial(take, self), needs, method=hdrs.METH_POST)
        return (taken,) if ask is None else (Route(path, partial(ask, self), needs), taken)

    async def give(
        self, request: web.Request, verb: str, args: Mapping[str, Any], content: bytes = b""
    ) -> dict[str, Any]:
        """What a verb does for the person who asks."""
        return await self.verbs[verb].work(_asked(request, verb, args, content))

    async def once(
        self, request: web.Request, form: Form, verb: str, args: Mapping[str, Any], content: bytes = b""
    ) -> Mapping[str, Any]:
        """What an act does that a form is sent for; the same form has the same answer, also after a restart.

        Raises:
            Exception: it was refused, or may have been done before.
        """
        assert self.acts is not None  # where there are verbs
        answer = await self.acts.give(_asked(request, verb, args, content), form.of_act(verb), [])
        if answer.error is not None:
            raise answer.error
        return answer.result

    async def take(
        self,
        request: web.Request,
        asked: Callable[[Form], tuple[Any, ...]],
        redraw: Redraw,
        go: Callable[[Form, Mapping[str, Any]], web.Response],
    ) -> web.Response:
        """Give once the act that a form is sent for.

        Args:
            asked: the verb, its arguments, its content.
            redraw: the page that the form is on, with the status and the sentence for what was refused.
            go: leads on, with what the verb has done.
        """

        async def act(form: Form) -> web.Response:
            try:
                done = await self.once(request, form, *asked(form))
            except errors.LabRelayError as error:
                return await redraw(request, *self.refused(request, error), form)
            return go(form, done)

        return await self.desk.answer(request, act)

    def again(self, page: Callable[[Asking], Page], found: Callable[[Reader, Asking], Values | Gone]) -> Redraw:
        """Draws a page of `show` once more, with what was refused on it."""

        async def redraw(request: web.Request, status: int, trouble: str, form: Form) -> web.Response:
            asking = self.asking(request)
            plain, read = page(asking), await self.read(found, asking)
            values = {**plain.values, **({} if isinstance(read, Gone) else read)}
            return await self.desk.page(request, plain.template, status, **values, words=asking.words, trouble=trouble)

        return redraw

    def instead(self, title: PageText, path: str, **query: str) -> Redraw:
        """Draws a page of its own with what was refused, and the way back."""

        async def redraw(request: web.Request, status: int, trouble: str, form: Form) -> web.Response:
            words = self.asking(request).words
            values = {"title": words.say(title), "back": words.href(path, **query), "trouble": trouble}
            return await self.desk.page(request, "done", status, **values)

        return redraw

    async def was_given(self, request: web.Request, form: Form, verb: str) -> bool:
        """Whether `once` would carry out nothing: then nothing else is looked at before it."""
        assert self.acts is not None
        return await self.acts.was_given(request[PRINCIPAL].actor, form.of_act(verb))

    async def read(self, work: Callable[..., Any], *given: Any) -> Any:
        """The result of ``work(reader, *given)``, called in a thread."""
        async with self._reading:
            return await asyncio.to_thread(work, self._reader, *given)

    async def show(
        self,
        request: web.Request,
        page: Callable[[Asking], Page],
        found: Callable[[Reader, Asking], Values | Gone],
        asking: Asking | None = None,
    ) -> web.Response:
        """A page.

        Args:
            page: the page without anything read; it is shown with a sentence where reading fails.
            found: more values for the template.
            asking: as the request is to be understood; None: as it is.
        """
        asking = asking or self.asking(request)
        plain = page(asking)

        def draw(reader: Reader) -> tuple[int, Body]:
            status, trouble, more = 200, plain.wrong, dict[str, Any]()
            if trouble:
                status = 400
            else:
                try:
                    read = found(reader, asking)
                    if isinstance(read, Gone):
                        status, trouble = 404, read.why
                    else:
                        more = dict(read)
                except (errors.StoreError, errors.ConfigError) as error:
                    status, trouble = self.why_not(error, asking.words)
            values = {**plain.values, **more, "trouble": trouble, "words": asking.words}
            drawn = self._renderer.draw(plain.template, asking.words.language, person_of(request), values)
            return status, prepared(request, html(drawn), tagged=False)

        status, body = await self.read(draw)
        return answer(request, body, status=status, vary=hdrs.ACCEPT_LANGUAGE, tagged=False)


def _asked(request: web.Request, verb: str, args: Mapping[str, Any], content: bytes) -> Request:
    principal = request[PRINCIPAL]
    sees = principal.may(SEEING_PATIENTS)
    return Request(verb=verb, actor=principal.actor, args=args, content=content, sees_contents=sees)


class Served(Protocol):
    """A module of pages."""

    def routes(self, frame: Frame) -> Iterable[Route]: ...


def routes_of(*pages: Served) -> Callable[[Frame], Sequence[Route]]:
    """All of some modules."""
    return lambda frame: [route for page in pages for route in page.routes(frame)]


def told(error: errors.LabRelayError, words: Words) -> str:
    """What an error says, in the reader's language; in English where its text has no sentence of its own (`Said`)."""
    return sentence(phrase_of(error.args[0]).say(words.catalogue))
