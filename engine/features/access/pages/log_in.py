"""Log in and out, change the person at a shared computer, the set-up link, the wall screen, more time.

Log-ins on pages: who is in one, how one begins, and all of a user in a list.

A user's own account: password, second factor, PIN, sessions.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import orjson
from aiohttp import web
from markupsafe import Markup

from engine.features.access.rules.accounts import LogInSession
from engine.features.access.service import second_factor
from engine.features.access.service.accounts import PASSWORD, SECOND_FACTOR, Accounts, LogIn, SignedIn
from engine.features.access.service.tokens import GONE
from engine.model.errors import AbsentError, BusyError, LabRelayError, LockedOutError, LogInError, RefusedError
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import R_, PageText
from engine.web import identity
from engine.web.desk import ACCOUNT, LOG_IN, Desk, NamedAct, local_path, say
from engine.web.forms import Form
from engine.web.identity import BROWSER, BROWSER_S, SESSION, SIGNED_IN, cookie, person_of, set_cookie
from engine.web.languages import LANGUAGES
from engine.web.routes import OPEN_TO_ALL, PRINCIPAL, Route
from engine.web.sender import sender_of


def signed_in(request: web.Request) -> SignedIn:
    """The session of a request for a page that only a person may see.

    Raises:
        web.HTTPForbidden: a program or a screen asks.
    """
    found = request.get(SIGNED_IN)
    if not isinstance(found, SignedIn):
        raise web.HTTPForbidden
    return found


def begin_session(request: web.Request, answer: web.StreamResponse, done: LogIn) -> None:
    """Give the browser the secrets of a log-in: both are new, so that one set before is of no use."""
    set_cookie(request, answer, SESSION, done.secret, None)
    set_cookie(request, answer, BROWSER, done.device, BROWSER_S)


async def enter(desk: Desk, accounts: Accounts, request: web.Request, done: LogIn, to: str) -> web.Response:
    """Into the new session; the one that this browser had before ends."""
    await accounts.log_out(cookie(request, SESSION), address=sender_of(request))
    answer = desk.go(request, to)
    begin_session(request, answer, done)
    return answer


def log_ins(desk: Desk, sessions: Iterable[LogInSession], here: int = 0) -> list[dict[str, object]]:
    """Rows for a list of log-ins. ``here``: the number of the one that asks."""
    return [
        {
            "number": one.number,
            "here": one.number == here,
            "address": one.address,
            "how": one.how,
            "began": desk.at(one.began_us),
            "seen": desk.at(one.seen_us),
        }
        for one in sessions
    ]


CODE = "/log-in/code"
CHANGE_USER = "/change-user"
SET_UP = "/set-up"
LATE_S = 1.0  # so much later comes the answer to a log-in that is turned away without a look


class LogInPages:
    """The pages before a session, and its end.

    Args:
        leave: the answer to a log-out of a session that the identity provider has proven, by what was kept of it.
    """

    def __init__(
        self, desk: Desk, accounts: Accounts, leave: Callable[[web.Request, str], Awaitable[web.Response]]
    ) -> None:
        self._desk = desk
        self._leave = leave
        self._accounts = accounts

    def routes(self) -> Sequence[Route]:
        return (
            Route(LOG_IN, self._log_in_page, OPEN_TO_ALL),
            Route(LOG_IN, self._desk.acting(self._log_in), OPEN_TO_ALL, method="POST"),
            Route(CODE, self._desk.acting(self._code), OPEN_TO_ALL, method="POST"),
            Route(CHANGE_USER, self._draw_users, OPEN_TO_ALL),
            Route(CHANGE_USER, self._desk.acting(self._change_user), OPEN_TO_ALL, method="POST"),
            Route(SET_UP, self._set_up_page, OPEN_TO_ALL),
            Route(SET_UP, self._desk.acting(self._set_up), OPEN_TO_ALL, method="POST"),
            Route("/wall", self._wall_page, OPEN_TO_ALL),
            Route("/wall", self._desk.acting(self._wall), OPEN_TO_ALL, method="POST"),
            Route("/log-out", self._desk.acting(self._log_out), LOOKING, method="POST", early=True),
            Route("/stay", self._desk.acting(self._stay), LOOKING, method="POST", early=True),
            Route("/session.json", self._session, LOOKING, early=True, here="log-ins are known here alone"),
        )

    # -- name and password -------------------------------------------------------------------------------------

    async def _log_in_page(self, request: web.Request) -> web.Response:
        to = local_path(request.query.get("next", "/"))
        if identity.SIGNED_IN in request:
            return self._desk.go(request, to)
        return await log_in_page(self._desk, self._accounts, request, to=to)

    async def _log_in(self, request: web.Request, form: Form) -> web.Response:
        to, name = local_path(form["next"]), form["name"]
        try:
            done = await self._accounts.log_in(
                name,
                form.secret("password"),
                address=sender_of(request),
                device=identity.cookie(request, identity.BROWSER),
            )
        except LogInError as error:
            status, trouble = await self._refused(request, error)
            return await log_in_page(self._desk, self._accounts, request, status, to=to, name=name, trouble=trouble)
        if done.second_factor:
            return await self._ask_code(request, done.secret, to)
        return await enter(self._desk, self._accounts, request, done, to)

    async def _refused(self, request: web.Request, error: LogInError) -> tuple[int, str]:
        """The status and the sentence; of one that was not looked at late, so that a flood of them costs little."""
        if isinstance(error, (BusyError, LockedOutError)):
            await asyncio.sleep(LATE_S)
        return self._desk.refused(request, error)

    async def _ask_code(
        self, request: web.Request, waiting: str, to: str, status: int = 200, trouble: str = ""
    ) -> web.Response:
        return await self._desk.page(request, "log_in_code", status, waiting=waiting, to=to, trouble=trouble)

    async def _code(self, request: web.Request, form: Form) -> web.Response:
        to, waiting = local_path(form["next"]), form["waiting"]
        try:
            done = await self._accounts.give_code(waiting, form["code"], address=sender_of(request))
        except LogInError as error:
            status, trouble = await self._refused(request, error)
            return await self._ask_code(request, waiting, to, status, trouble)
        return await enter(self._desk, self._accounts, request, done, to)

    # -- a shared computer -------------------------------------------------------------------------------------

    async def _draw_users(
        self, request: web.Request, status: int = 200, name: str = "", trouble: str = ""
    ) -> web.Response:
        names = await self._accounts.at_this_device(identity.cookie(request, identity.BROWSER))
        here = request[identity.SIGNED_IN].user.name if identity.SIGNED_IN in request else ""
        names = [one for one in names if one != here]
        return await self._desk.page(request, "change_user", status, names=names, name=name, trouble=trouble)

    async def _change_user(self, request: web.Request, form: Form) -> web.Response:
        try:
            done = await self._accounts.switch(
                form["name"],
                form.secret("pin"),
                address=sender_of(request),
                device=identity.cookie(request, identity.BROWSER),
                leaving=identity.cookie(request, identity.SESSION),
            )
        except LogInError as error:
            status, trouble = await self._refused(request, error)
            return await self._draw_users(request, status, form["name"], trouble)
        answer = self._desk.go(request, "/")
        begin_session(request, answer, done)
        return answer

    # -- the first admin ---------------------------------------------------------------------------------------

    async def _set_up_page(self, request: web.Request) -> web.Response:
        code = request.query.get("code", "")
        if not self._accounts.set_up.is_open(code):
            return await self._desk.page(request, "set_up", 403, code="", name="", trouble=say(request, GONE))
        return await self._desk.page(request, "set_up", code=code, name="", trouble="")

    async def _set_up(self, request: web.Request, form: Form) -> web.Response:
        code, name, password = form["code"], form["name"], form.secret("password")
        address = sender_of(request)
        try:
            if password != form.secret("again"):
                raise LogInError(R_("the two passwords are not the same"))
            await self._accounts.set_up.use(code, name, password, address=address)
        except LabRelayError as error:
            status, trouble = self._desk.refused(request, error)
            is_open = self._accounts.set_up.is_open(code)
            return await self._desk.page(
                request, "set_up", status, code=code if is_open else "", name=name, trouble=trouble
            )
        done = await self._accounts.log_in(
            name, password, address=address, device=identity.cookie(request, identity.BROWSER)
        )
        return await enter(self._desk, self._accounts, request, done, ACCOUNT)

    # -- a screen on a wall ------------------------------------------------------------------------------------

    async def _wall_page(self, request: web.Request) -> web.Response:
        return await self._desk.page(request, "wall", token=request.query.get("token", ""), trouble="")

    async def _wall(self, request: web.Request, form: Form) -> web.Response:
        secret = await self._accounts.tokens.exchange(form["token"], address=sender_of(request))
        if not secret:
            return await self._desk.page(request, "wall", 403, token="", trouble=say(request, NO_WALL))
        answer = self._desk.go(request, "/?wall")
        identity.set_cookie(request, answer, identity.WALL, secret, identity.WALL_S)
        return answer

    # -- the session -------------------------------------------------------------------------------------------

    async def _log_out(self, request: web.Request, _form: Form) -> web.Response:
        kept = await self._accounts.log_out(identity.cookie(request, identity.SESSION), address=sender_of(request))
        answer = await self._leave(request, kept) if kept else self._desk.go(request, LOG_IN)
        identity.drop_cookie(request, answer, identity.SESSION)
        return answer

    async def _stay(self, request: web.Request, form: Form) -> web.Response:
        """That a person asked has given the session its time."""
        signed_in(request)
        return self._desk.go(request, local_path(form["next"]))

    async def _session(self, request: web.Request) -> web.Response:
        signed_in(request)
        person = person_of(request)
        left = {"left_s": person.left_s, "until": person.until, "is_last": person.is_last}
        return web.Response(body=orjson.dumps(left), content_type="application/json")


NO_WALL = R_("This link has been used, or its token has ended. Please ask the person who administers LabRelay here.")


async def log_in_page(
    desk: Desk, accounts: Accounts, request: web.Request, status: int = 200, **values: str
) -> web.Response:
    """The page with name and password. ``values``: ``to``, ``name`` and ``trouble``, each as it is not empty."""
    shown = {"to": "/", "name": "", "trouble": "", "provider": accounts.provider.title} | values
    others = await accounts.at_this_device(identity.cookie(request, identity.BROWSER))
    # From a page of another site browsers send no cookie; a second request, from our own page, has it.
    again = request.method == "GET" and request.headers.get("Sec-Fetch-Site") == "cross-site"
    return await desk.page(request, "log_in", status, others=others, again=again, **shown)


FIRST = {PASSWORD: ("password",), SECOND_FACTOR: ("offer", "confirm")}  # all that a person who is held up may do
DONE: dict[str, PageText] = {  # what the page says after an act
    "password": "Your password is changed. Your other log-ins have ended.",
    "pin": "Your PIN is set.",
    "no-pin": "You have no PIN any more.",
    "second-factor": "Your second factor is in use.",
    "no-second-factor": "You have no second factor any more.",
    "session": "The log-in has ended.",
    "language": "Your language is saved.",
}


class AccountPages:
    """The page of the own account. Programs and screens have none."""

    def __init__(self, desk: Desk, accounts: Accounts) -> None:
        self._desk = desk
        self._accounts = accounts
        self._acts: Mapping[str, NamedAct] = {
            "password": self._password,
            "offer": self._offer,
            "confirm": self._confirm,
            "drop": self._drop,
            "pin": self._pin,
            "language": self._language,
            "end": self._end,
        }

    def routes(self) -> Sequence[Route]:
        return (
            Route(ACCOUNT, self._page, LOOKING, early=True, here="log-ins are known here alone"),
            Route(ACCOUNT, self._take, LOOKING, method="POST", early=True),
        )

    async def _page(self, request: web.Request) -> web.Response:
        return await self._draw(request, done=DONE.get(request.query.get("done", ""), ""))

    async def _draw(
        self, request: web.Request, status: int = 200, trouble: str = "", at: str = "", done: str = ""
    ) -> web.Response:
        """The page. ``at``: the act that was refused."""
        me = signed_in(request)
        sessions = log_ins(self._desk, (one for _, one in await self._accounts.sessions(me.user.name)), me.number)
        credentials = me.user.credentials
        return await self._desk.page(
            request, "account", status, user=me.user, has_pin=bool(credentials.pin), sessions=sessions, trouble=trouble,
            has_second_factor=bool(credentials.totp), left=len(credentials.recovery), at=at, done=done, first=me.first,
        )  # fmt: skip

    async def _take(self, request: web.Request) -> web.Response:
        first = signed_in(request).first
        acts = {name: act for name, act in self._acts.items() if not first or name in FIRST[first]}
        return await self._desk.take(request, acts, self._refused, kept=True)

    async def _refused(self, request: web.Request, status: int, trouble: str, form: Form) -> web.Response:
        return await self._draw(request, status, trouble, form["act"])

    def _done(self, request: web.Request, done: str) -> web.Response:
        return self._desk.go(request, ACCOUNT, done=done)

    async def _password(self, request: web.Request, form: Form) -> web.Response:
        new = form.secret("new")
        if new != form.secret("again"):
            raise LogInError(R_("the two passwords are not the same"))
        secret, address = cookie(request, SESSION), sender_of(request)
        was_first = signed_in(request).first
        await self._accounts.own.change_password(secret, form.secret("password"), new, address=address)
        return self._desk.go(request, "/") if was_first else self._done(request, "password")

    async def _pin(self, request: web.Request, form: Form) -> web.Response:
        secret, address = cookie(request, SESSION), sender_of(request)
        await self._accounts.own.set_pin(secret, form.secret("password"), form.secret("pin"), address=address)
        return self._done(request, "pin" if form.secret("pin") else "no-pin")

    async def _language(self, request: web.Request, form: Form) -> web.Response:
        chosen = form["language"]
        if chosen and chosen not in LANGUAGES:
            raise AbsentError("there is no such language")
        await self._accounts.own.set_language(signed_in(request).user, chosen)
        return self._desk.go(request, ACCOUNT, done="language", **({"lang": chosen} if chosen else {}))

    async def _offer(self, request: web.Request, form: Form) -> web.Response:
        secret, address = cookie(request, SESSION), sender_of(request)
        shown, picture = await self._accounts.own.offer_second_factor(
            secret, form.secret("password"), address=address, site=self._desk.site_name
        )
        return await self._show_offer(request, shown, picture)

    async def _show_offer(
        self, request: web.Request, shown: str, picture: str, status: int = 200, trouble: str = ""
    ) -> web.Response:
        key = shown.partition("secret=")[2].partition("&")[0]
        return await self._desk.page(
            request,
            "second_factor",
            status,
            key=key,
            picture=Markup(picture),  # noqa: S704 - made by us: squares, and nothing that a person typed
            codes=(),
            trouble=trouble,
            held_up=request[PRINCIPAL].held_up,
        )

    async def _confirm(self, request: web.Request, form: Form) -> web.Response:
        user, address = signed_in(request).user, sender_of(request)
        try:
            codes = await self._accounts.own.confirm_second_factor(
                cookie(request, SESSION), form.secret("password"), form["code"], address=address
            )
        except (LogInError, RefusedError) as error:
            if not user.credentials.offered:
                raise
            shown = second_factor.address_of(user.credentials.offered, user.name, self._desk.site_name)
            picture = second_factor.picture_of(shown)
            return await self._show_offer(request, shown, picture, *self._desk.refused(request, error))
        return await self._desk.page(
            request, "second_factor", key="", picture="", codes=codes, trouble="", held_up=False
        )

    async def _drop(self, request: web.Request, form: Form) -> web.Response:
        secret, address = cookie(request, SESSION), sender_of(request)
        await self._accounts.own.drop_second_factor(secret, form.secret("password"), address=address)
        return self._done(request, "no-second-factor")

    async def _end(self, request: web.Request, form: Form) -> web.Response:
        """End one of the own sessions: the number of another user's names none."""
        me = signed_in(request)
        mine = {str(one.number): one.number for _, one in await self._accounts.sessions(me.user.name)}
        if form["number"] not in mine:
            raise AbsentError("there is no such log-in")
        await self._accounts.revoke(mine[form["number"]], by=me.principal.actor)
        return self._done(request, "session")
