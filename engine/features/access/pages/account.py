"""A user's own account: password, second factor, PIN, sessions."""

from collections.abc import Mapping, Sequence

from aiohttp import web
from markupsafe import Markup

from engine.features.access.pages.log_in import log_ins, signed_in
from engine.features.access.service import second_factor
from engine.features.access.service.accounts import PASSWORD, SECOND_FACTOR, Accounts
from engine.model.errors import LogInError, RefusedError
from engine.model.site.permissions import LOOKING
from engine.model.texts.phrases import R_, PageText
from engine.web.desk import ACCOUNT, Desk, NamedAct
from engine.web.forms import Form
from engine.web.identity import SESSION, cookie
from engine.web.languages import LANGUAGES
from engine.web.routes import PRINCIPAL, Route
from engine.web.sender import sender_of

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
            Route(ACCOUNT, self._page, LOOKING, early=True),
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
        return await self._desk.take(request, acts, self._refused)

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
            raise web.HTTPBadRequest
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
            raise web.HTTPNotFound
        await self._accounts.revoke(mine[form["number"]], by=me.principal.actor)
        return self._done(request, "session")
