"""Users, their sessions, and tokens: for those who administer."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from aiohttp import web

from engine.features.access.pages.log_in import log_ins
from engine.features.access.service.accounts import Accounts
from engine.model.errors import AbsentError, LabRelayError, RefusedError
from engine.model.site.permissions import ADMINISTERING, ROLES, WATCHING, Permission
from engine.model.texts.phrases import N_, R_, PageText
from engine.web.desk import Desk, NamedAct
from engine.web.forms import Form
from engine.web.routes import PRINCIPAL, Route

USERS, USER, TOKENS = "/users", "/user", "/tokens"
DAY_US = 86_400_000_000
DAYS = (30, 90, 365)  # how long a new token lasts
DONE: dict[str, PageText] = {
    "added": "The user is added.",
    "role": "The role is changed.",
    "patients": "Changed: who sees patients.",
    "disabled": "The user is kept out.",
    "enabled": "The user may log in again.",
    "password": "The new password is set. The user's log-ins have ended.",
    "second-factor": "The user has no second factor any more.",
    "removed": "The user is removed.",
    "session": "The log-in has ended.",
    "revoked": "The token is revoked.",
}
SCOPES: Mapping[str, frozenset[Permission]] = {**ROLES, N_("wall screen"): WATCHING}


class AdministrationPages:
    """The list of users, the page of one, and the list of tokens."""

    def __init__(self, desk: Desk, accounts: Accounts) -> None:
        self._desk = desk
        self._accounts = accounts
        self._user_acts: Mapping[str, NamedAct] = {
            "role": self._set_role,
            "patients": self._let_see_patients,
            "disable": self._disable,
            "password": self._set_password,
            "second-factor": self._drop_second_factor,
            "remove": self._remove,
            "end": self._end,
        }
        self._token_acts: Mapping[str, NamedAct] = {"add": self._add_token, "revoke": self._revoke}

    def routes(self) -> Sequence[Route]:
        return (
            Route(USERS, self._draw_users, ADMINISTERING),
            Route(USERS, self._take_new_user, ADMINISTERING, method="POST"),
            Route(USER, self._draw_user, ADMINISTERING),
            Route(USER, self._take_user, ADMINISTERING, method="POST"),
            Route(TOKENS, self._draw_tokens, ADMINISTERING),
            Route(TOKENS, self._take_token, ADMINISTERING, method="POST"),
        )

    # -- users -------------------------------------------------------------------------------------------------

    async def _draw_users(
        self, request: web.Request, status: int = 200, trouble: str = "", form: Form | None = None
    ) -> web.Response:
        users = [
            {"user": one, "logged_in": self._desk.at(one.logged_in_us), "address": _address_of(one.name)}
            for one in await self._accounts.users.list()
        ]
        return await self._desk.page(
            request, "users", status, users=users, roles=tuple(ROLES), name=form["name"] if form else "",
            role=form["role"] if form else "viewer", trouble=trouble, done=_done(request),
        )  # fmt: skip

    async def _take_new_user(self, request: web.Request) -> web.Response:
        return await self._desk.take(request, {"add": self._add}, self._draw_users, kept=True)

    async def _add(self, request: web.Request, form: Form) -> web.Response:
        password = form.secret("password")
        sees, by = form["patients"] == "yes", request[PRINCIPAL].actor
        await self._accounts.users.add(form["name"], form["role"], password, by=by, sees_patients=sees, given=True)
        return self._desk.go(request, USERS, done="added")

    # -- one user ----------------------------------------------------------------------------------------------

    async def _draw_user(
        self, request: web.Request, status: int = 200, trouble: str = "", _form: Form | None = None
    ) -> web.Response:
        name = request.query.get("name", "")
        try:
            user = await self._accounts.users.named(name)
        except LabRelayError:
            raise web.HTTPNotFound from None
        sessions = log_ins(self._desk, (one for _, one in await self._accounts.sessions(user.name)))
        return await self._desk.page(
            request, "user", status, user=user, roles=tuple(dict.fromkeys((*ROLES, user.role))),
            has_second_factor=bool(user.credentials.totp), sessions=sessions, address=_address_of(user.name),
            logged_in=self._desk.at(user.logged_in_us), trouble=trouble, done=_done(request),
        )  # fmt: skip

    async def _take_user(self, request: web.Request) -> web.Response:
        return await self._desk.take(request, self._user_acts, self._draw_user, kept=True)

    def _back(self, request: web.Request, done: str) -> web.Response:
        return self._desk.go(request, USER, name=request.query.get("name", ""), done=done)

    async def _set_role(self, request: web.Request, form: Form) -> web.Response:
        await self._accounts.users.set_role(_name(request), form["role"], by=request[PRINCIPAL].actor)
        return self._back(request, "role")

    async def _let_see_patients(self, request: web.Request, form: Form) -> web.Response:
        sees = form["sees"] == "yes"
        await self._accounts.users.let_see_patients(_name(request), sees, by=request[PRINCIPAL].actor)
        return self._back(request, "patients")

    async def _disable(self, request: web.Request, form: Form) -> web.Response:
        disabled = form["disabled"] == "yes"
        await self._accounts.users.disable(_name(request), disabled, by=request[PRINCIPAL].actor)
        return self._back(request, "disabled" if disabled else "enabled")

    async def _set_password(self, request: web.Request, form: Form) -> web.Response:
        by, user = request[PRINCIPAL].actor, await self._accounts.users.named(_name(request))
        await self._accounts.users.set_password(user.name, form.secret("new"), by=by, given=user.name != by)
        return self._back(request, "password")

    async def _drop_second_factor(self, request: web.Request, _form: Form) -> web.Response:
        await self._accounts.users.drop_second_factor(_name(request), by=request[PRINCIPAL].actor)
        return self._back(request, "second-factor")

    async def _remove(self, request: web.Request, form: Form) -> web.Response:
        if form["sure"] != "yes":
            raise RefusedError(R_("tick the box to remove the user"))
        await self._accounts.users.remove(_name(request), by=request[PRINCIPAL].actor)
        return self._desk.go(request, USERS, done="removed")

    async def _end(self, request: web.Request, form: Form) -> web.Response:
        known = {str(one.number): one.number for _, one in await self._accounts.sessions(_name(request))}
        if form["number"] not in known:
            raise AbsentError("there is no such log-in")
        await self._accounts.revoke(known[form["number"]], by=request[PRINCIPAL].actor)
        return self._back(request, "session")

    # -- tokens ------------------------------------------------------------------------------------------------

    async def _draw_tokens(
        self, request: web.Request, status: int = 200, trouble: str = "", _form: Form | None = None, **shown: str
    ) -> web.Response:
        tokens = [
            {
                "name": one.name,
                "scope": _scope(one.permissions),
                "patients": Permission.PATIENTS in one.permissions,
                "units": ", ".join(one.units),
                "made_by": one.made_by,
                "ends": self._desk.at(one.ends_us, "%Y-%m-%d"),
                "used": self._desk.at(one.used_us),
                "used_from": one.used_from,
            }
            for one in await self._accounts.tokens.list()
        ]
        secret = {"secret": "", "link": ""} | shown
        return await self._desk.page(
            request, "tokens", status, tokens=tokens, scopes=tuple(SCOPES), days=DAYS, trouble=trouble,
            done=_done(request), **secret,
        )  # fmt: skip

    async def _take_token(self, request: web.Request) -> web.Response:
        return await self._desk.take(request, self._token_acts, self._draw_tokens, kept=True)

    async def _add_token(self, request: web.Request, form: Form) -> web.Response:
        scope, by = SCOPES.get(form["scope"]), request[PRINCIPAL].actor
        if scope is None or form["days"] not in map(str, DAYS):
            raise AbsentError("there is no such scope, or time")
        if form["patients"] == "yes" and scope != WATCHING:
            scope |= {Permission.PATIENTS}
        is_wall = scope == WATCHING
        ends_us = 0 if is_wall else self._desk.clock.now_us() + int(form["days"]) * DAY_US
        secret = await self._accounts.tokens.create(form["name"], scope, ends_us=ends_us, by=by)
        link = f"{request.scheme}://{request.host}/wall?{urlencode({'token': secret})}" if is_wall else ""
        return await self._draw_tokens(request, secret="" if is_wall else secret, link=link)

    async def _revoke(self, request: web.Request, form: Form) -> web.Response:
        await self._accounts.tokens.revoke(form["name"], by=request[PRINCIPAL].actor)
        return self._desk.go(request, TOKENS, done="revoked")


def _name(request: web.Request) -> str:
    """The user whose page it is."""
    return request.query.get("name", "")


def _address_of(name: str) -> str:
    return f"{USER}?{urlencode({'name': name})}"


def _done(request: web.Request) -> str:
    return DONE.get(request.query.get("done", ""), "")


def _scope(permissions: frozenset[Permission]) -> str:
    """The word for the permissions of a token, seeing patients aside."""
    plain = permissions - {Permission.PATIENTS}
    return next((word for word, scope in SCOPES.items() if scope == plain), ", ".join(sorted(plain)))
