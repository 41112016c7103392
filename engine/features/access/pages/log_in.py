"""Log in and out, change the person at a shared computer, the set-up link, the wall screen, more time.

Log-ins on pages: who is in one, how one begins, and all of a user in a list.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import orjson
from aiohttp import web

from engine.features.access.rules.accounts import LogInSession
from engine.features.access.service.accounts import Accounts, LogIn, SignedIn
from engine.features.access.service.set_up_link import GONE
from engine.model.errors import BusyError, LabRelayError, LockedOutError, LogInError
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import R_
from engine.web import identity
from engine.web.desk import ACCOUNT, LOG_IN, Desk, local_path, say
from engine.web.forms import Form
from engine.web.identity import BROWSER, BROWSER_S, SESSION, SIGNED_IN, cookie, person_of, set_cookie
from engine.web.routes import OPEN_TO_ALL, Route
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
            Route(LOG_IN, self._log_in, OPEN_TO_ALL, method="POST"),
            Route(CODE, self._code, OPEN_TO_ALL, method="POST"),
            Route(CHANGE_USER, self._draw_users, OPEN_TO_ALL),
            Route(CHANGE_USER, self._change_user, OPEN_TO_ALL, method="POST"),
            Route(SET_UP, self._set_up_page, OPEN_TO_ALL),
            Route(SET_UP, self._set_up, OPEN_TO_ALL, method="POST"),
            Route("/wall", self._wall_page, OPEN_TO_ALL),
            Route("/wall", self._wall, OPEN_TO_ALL, method="POST"),
            Route("/log-out", self._log_out, LOOKING, method="POST", early=True),
            Route("/stay", self._stay, LOOKING, method="POST", early=True),
            Route("/session.json", self._session, LOOKING, early=True),
        )

    # -- name and password -------------------------------------------------------------------------------------

    async def _log_in_page(self, request: web.Request) -> web.Response:
        to = local_path(request.query.get("next", "/"))
        if identity.SIGNED_IN in request:
            return self._desk.go(request, to)
        return await log_in_page(self._desk, self._accounts, request, to=to)

    async def _log_in(self, request: web.Request) -> web.Response:
        async def act(form: Form) -> web.Response:
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

        return await self._desk.answer(request, act)

    async def _refused(self, request: web.Request, error: LogInError) -> tuple[int, str]:
        """The status and the sentence; of one that was not looked at late, so that a flood of them costs little."""
        if isinstance(error, (BusyError, LockedOutError)):
            await asyncio.sleep(LATE_S)
        return self._desk.refused(request, error)

    async def _ask_code(
        self, request: web.Request, waiting: str, to: str, status: int = 200, trouble: str = ""
    ) -> web.Response:
        return await self._desk.page(request, "log_in_code", status, waiting=waiting, to=to, trouble=trouble)

    async def _code(self, request: web.Request) -> web.Response:
        async def act(form: Form) -> web.Response:
            to, waiting = local_path(form["next"]), form["waiting"]
            try:
                done = await self._accounts.give_code(waiting, form["code"], address=sender_of(request))
            except LogInError as error:
                status, trouble = await self._refused(request, error)
                return await self._ask_code(request, waiting, to, status, trouble)
            return await enter(self._desk, self._accounts, request, done, to)

        return await self._desk.answer(request, act)

    # -- a shared computer -------------------------------------------------------------------------------------

    async def _draw_users(
        self, request: web.Request, status: int = 200, name: str = "", trouble: str = ""
    ) -> web.Response:
        names = await self._accounts.at_this_device(identity.cookie(request, identity.BROWSER))
        here = request[identity.SIGNED_IN].user.name if identity.SIGNED_IN in request else ""
        names = [one for one in names if one != here]
        return await self._desk.page(request, "change_user", status, names=names, name=name, trouble=trouble)

    async def _change_user(self, request: web.Request) -> web.Response:
        async def act(form: Form) -> web.Response:
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

        return await self._desk.answer(request, act)

    # -- the first admin ---------------------------------------------------------------------------------------

    async def _set_up_page(self, request: web.Request) -> web.Response:
        code = request.query.get("code", "")
        if not self._accounts.set_up.is_open(code):
            return await self._desk.page(request, "set_up", 403, code="", name="", trouble=say(request, GONE))
        return await self._desk.page(request, "set_up", code=code, name="", trouble="")

    async def _set_up(self, request: web.Request) -> web.Response:
        async def act(form: Form) -> web.Response:
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

        return await self._desk.answer(request, act)

    # -- a screen on a wall ------------------------------------------------------------------------------------

    async def _wall_page(self, request: web.Request) -> web.Response:
        return await self._desk.page(request, "wall", token=request.query.get("token", ""), trouble="")

    async def _wall(self, request: web.Request) -> web.Response:
        async def act(form: Form) -> web.Response:
            secret = await self._accounts.tokens.exchange(form["token"], address=sender_of(request))
            if not secret:
                return await self._desk.page(request, "wall", 403, token="", trouble=say(request, NO_WALL))
            answer = self._desk.go(request, "/?wall")
            identity.set_cookie(request, answer, identity.WALL, secret, identity.WALL_S)
            return answer

        return await self._desk.answer(request, act)

    # -- the session -------------------------------------------------------------------------------------------

    async def _log_out(self, request: web.Request) -> web.Response:
        async def act(_form: Form) -> web.Response:
            kept = await self._accounts.log_out(identity.cookie(request, identity.SESSION), address=sender_of(request))
            answer = await self._leave(request, kept) if kept else self._desk.go(request, LOG_IN)
            identity.drop_cookie(request, answer, identity.SESSION)
            return answer

        return await self._desk.answer(request, act)

    async def _stay(self, request: web.Request) -> web.Response:
        """That a person asked has given the session its time."""
        signed_in(request)

        async def act(form: Form) -> web.Response:
            return self._desk.go(request, local_path(form["next"]))

        return await self._desk.answer(request, act)

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
