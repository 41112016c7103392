"""What pages for persons share: draw a page for a person, take a form, answer it once, say what was refused."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo

from aiohttp import hdrs, web

from engine.model import errors
from engine.model.errors import LabRelayError, LockedOutError, StoreError
from engine.model.process.clock import Clock, from_us
from engine.model.site.permissions import ACTING, ADMINISTERING, CHANGING, LOOKING, SEEING_PATIENTS, Principal
from engine.model.texts.phrases import Phrase, Said, Span
from engine.web import identity
from engine.web.forms import MAX_FORM, Answers, Form, form_token, local, read_form
from engine.web.guard import RETRY_S
from engine.web.identity import Person, address_of
from engine.web.languages import catalogue
from engine.web.render import Renderer
from engine.web.routes import PRINCIPAL
from engine.web.running import Running

LOG_IN, ACCOUNT = "/log-in", "/account"
STEP_S = 10  # of the time left: a page that is drawn again within it is the same
STEP_US = STEP_S * 1_000_000
Act = Callable[[Form], Awaitable[web.Response]]
NamedAct = Callable[[web.Request, Form], Awaitable[web.Response]]
Redraw = Callable[[web.Request, int, str, Form], Awaitable[web.Response]]


class Desk:
    """Serves pages to persons."""

    def __init__(self, running: Running, renderer: Renderer, clock: Clock) -> None:
        self.accounts = running.accounts
        self._acts = running.acts
        self.clock = clock
        self._renderer = renderer
        self._snapshot = running.snapshot
        self._answers = {known: Answers() for known in (True, False)}  # strangers' forms put out none of others

    @property
    def site_name(self) -> str:
        return self._snapshot().site_name

    # -- pages -------------------------------------------------------------------------------------------------

    async def page(self, request: web.Request, template: str, status: int = 200, /, **values: object) -> web.Response:
        """The page of a template; the browser gets a secret of its own where it has none."""
        secret, is_new = self._secret(request)
        person = self.person(request, request.get(PRINCIPAL), secret)
        html = await asyncio.to_thread(self._renderer.draw, template, identity.language_of(request), person, values)
        headers = {hdrs.VARY: hdrs.ACCEPT_LANGUAGE}
        answer = web.Response(status=status, text=html, content_type="text/html", headers=headers)
        # With a request from a page of another site a browser sends no cookie of ours: the one it has stays.
        if is_new and request.headers.get("Sec-Fetch-Site") != "cross-site":
            identity.set_cookie(request, answer, identity.BROWSER, secret, identity.BROWSER_S)
        return answer

    def person(self, request: web.Request, principal: Principal | None, secret: str = "") -> Person:
        """The person a page is drawn for.

        Args:
            secret: of the cookie that forms of this page depend on; empty: the one that the browser sends.
        """
        form = form_token(secret or self._secret(request)[0])
        stranger = Person(form=form, address=address_of(request), theme=identity.theme_of(request))
        if principal is None:
            return stranger
        looks = principal.may(LOOKING) and not principal.held_up
        plain = replace(stranger, looks=looks, reads_notes=principal.reads_notes)
        signed_in = request.get(identity.SIGNED_IN)
        if signed_in is None:
            return plain
        return replace(
            plain,
            name=signed_in.user.name,
            role=signed_in.user.role,
            acts=looks and signed_in.principal.may(ACTING),
            changes=looks and signed_in.principal.may(CHANGING),
            administers=looks and signed_in.principal.may(ADMINISTERING),
            sees_patients=looks and signed_in.principal.may(SEEING_PATIENTS),
            until=self.at(signed_in.ends_us, "%H:%M"),
            left_s=max((signed_in.ends_us - self.clock.now_us()) // STEP_US * STEP_S, 0),
            is_last=signed_in.ends_us >= signed_in.latest_us,
        )

    def at(self, instant_us: int, form: str = "%Y-%m-%d %H:%M") -> str:
        """An instant in the zone of the site; empty: never."""
        return from_us(instant_us).astimezone(ZoneInfo(self._snapshot().timezone)).strftime(form) if instant_us else ""

    # -- forms -------------------------------------------------------------------------------------------------

    async def answer(self, request: web.Request, act: Act, most: int = MAX_FORM) -> web.Response:
        """Read the form of a request, of at most ``most`` bytes, and act on it once.

        Raises:
            web.HTTPException: no form of our page (`engine.web.forms`).
        """
        form = await self.form(request, most)
        return await self._answers[identity.SIGNED_IN in request].once(form, lambda: act(form))

    def acting(self, act: NamedAct) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Takes the form of a request, and acts on it once."""

        async def handle(request: web.Request) -> web.Response:
            return await self.answer(request, partial(act, request))

        return handle

    async def take(
        self, request: web.Request, acts: Mapping[str, NamedAct], redraw: Redraw, *, kept: bool = False
    ) -> web.Response:
        """Do once what the button of a form names.

        Args:
            acts: by the name of their button.
            kept: they give no verb (`Frame.once`), and are done once over a restart, too.
            redraw: the page that the form is on, with the status and the sentence for what was refused.

        Raises:
            web.HTTPException: no form of our page, or no button of it.
        """

        async def act(form: Form) -> web.Response:
            chosen = acts.get(form["act"])
            if chosen is None:
                raise web.HTTPBadRequest
            try:
                return await (self._kept(request, form, chosen) if kept else chosen(request, form))
            except LabRelayError as error:
                return await redraw(request, *self.refused(request, error), form)

        return await self.answer(request, act)

    async def _kept(self, request: web.Request, form: Form, chosen: NamedAct) -> web.Response:
        """The answer of an act; after a restart the page that it led to, or was on: a secret is shown once."""
        assert self._acts is not None
        made: list[web.Response] = []

        async def work() -> Mapping[str, str]:
            made.append(await chosen(request, form))
            return {"to": made[0].headers.get(hdrs.LOCATION, request.path_qs)}

        answer = await self._acts.once(request[PRINCIPAL].actor, form.of_act(form["act"]), [], work)
        if answer.error is not None:
            raise answer.error
        return made[0] if made else web.Response(status=303, headers={hdrs.LOCATION: answer.result["to"]})

    async def form(self, request: web.Request, most: int = MAX_FORM) -> Form:
        """The form of a request that only shows something: sent again, it is answered anew; raises as `answer`."""
        return await read_form(request, self._secret(request)[0], most)

    def go(self, request: web.Request, path: str, **query: str) -> web.Response:
        """Lead the browser on, in the language that the reader has chosen."""
        if "lang" in request.query:
            query = {"lang": identity.language_of(request)} | query
        joined = f"{path}{'&' if '?' in path else '?'}{urlencode(query)}" if query else path
        return web.Response(status=303, headers={hdrs.LOCATION: joined})

    def refused(self, request: web.Request, error: LabRelayError) -> tuple[int, str]:
        """The status and the sentence for what was refused.

        Raises:
            StoreError: the store failed; it is no refusal.
        """
        if isinstance(error, StoreError):
            raise error
        if isinstance(error, (errors.BusyError, errors.LockedError, errors.OccupiedError, errors.UnreachableError)):
            return 503, say(request, error.args[0])
        if isinstance(error, LockedOutError):
            left_s = max(error.until_us - self.clock.now_us(), 1_000_000) / 1e6
            request[RETRY_S] = math.ceil(left_s)
            said = Phrase("Too many wrong log-ins. The next one is looked at in {time}.", {"time": Span(left_s)})
            return 429, said.say(catalogue(identity.language_of(request)))
        return 403, say(request, error.args[0])

    def _secret(self, request: web.Request) -> tuple[str, bool]:
        if identity.SIGNED_IN in request:
            return identity.cookie(request, identity.SESSION), False
        return identity.browser_secret(request)


def sentence(text: str) -> str:
    """A refusal begins small, or with the place of a file, and has no stop at its end."""
    if "/" in text.partition(" ")[0]:
        return text
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def say(request: web.Request, text: str) -> str:
    """A refusal in the language of the reader; in English where a name is in it and not apart (`Said`)."""
    words = catalogue(identity.language_of(request))
    return sentence(text.phrase.say(words)) if isinstance(text, Said) else words(sentence(text))


def local_path(text: str) -> str:
    """A path of this server to lead on to once a person is logged in; ``/`` for all else."""
    path = local(text)
    return "/" if urlsplit(path).path.startswith(LOG_IN) else path
