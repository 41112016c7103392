"""Log-in at the identity provider: the way there, and the way back with a code.

The provider sends a browser back from another site, so the browser sends no cookie of ours with that first request
(``SameSite=Strict``). The answer is a page of ours that asks for the same address once more: now they come along, and
the code is taken.
"""

import logging
from collections.abc import Callable, Sequence

from aiohttp import web

from engine.access.provider_words import LATE, UNREACHABLE
from engine.model.errors import IdentityProviderError, LabRelayError
from engine.web.access.desk import Desk, local_path
from engine.web.access.identity import BROWSER, cookie, drop_cookie, set_cookie
from engine.web.access.log_in import log_in_page
from engine.web.routes import OPEN_TO_ALL, Route

logger = logging.getLogger("labrelay.web")

START, BACK = "/log-in/oidc", "/log-in/oidc/back"
COOKIE = "labrelay-oidc"
FOR_S = 600
AGAIN = "again"


class OidcPages:
    """Where people log in who have no password here.

    Args:
        address: of the page, as the provider knows it, without a path; never taken from a request.
    """

    def __init__(self, desk: Desk, address: Callable[[], str]) -> None:
        self._desk = desk
        self._address = address

    def routes(self) -> Sequence[Route]:
        return Route(START, self._start, OPEN_TO_ALL), Route(BACK, self._back, OPEN_TO_ALL)

    async def _start(self, request: web.Request) -> web.Response:
        address, to = self._address(), local_path(request.query.get("next", "/"))
        flow = await self._desk.accounts.provider.flow(address + BACK)
        if flow is None:
            raise web.HTTPNotFound
        if request.host.lower() != address.partition("://")[2].lower():  # a cookie of this name would not come back
            return self._desk.go(request, address + START, next=to)
        try:
            begun = await flow.begin(to)
        except IdentityProviderError as error:
            return await self._refused(request, error, to, tried=False)
        answer = web.Response(status=303, headers={"Location": begun.address})
        set_cookie(request, answer, COOKIE, begun.sealed, FOR_S)
        return answer

    async def _back(self, request: web.Request) -> web.Response:
        flow = await self._desk.accounts.provider.flow(self._address() + BACK)
        if flow is None:
            raise web.HTTPNotFound
        sealed, query = cookie(request, COOKIE), request.query
        if not sealed and AGAIN not in query:
            return await self._desk.page(request, "log_in_again", address=f"{request.path_qs}&{AGAIN}=1")
        try:
            if len(set(query)) != len(query):  # a name twice
                raise IdentityProviderError(LATE, "address")
            await self._desk.accounts.raise_if_locked(request.remote or "")
            identity, to = await flow.finish(sealed, query)
            device = cookie(request, BROWSER)
            done = await self._desk.accounts.come_in(identity, address=request.remote or "", device=device)
        except LabRelayError as error:
            answer = await self._refused(request, error, tried=error.args[0] != LATE)
        else:
            answer = await self._desk.enter(request, done, local_path(to))
        drop_cookie(request, answer, COOKIE)
        return answer

    async def _refused(self, request: web.Request, error: LabRelayError, to: str = "/", *, tried: bool) -> web.Response:
        status, trouble = self._desk.refused(request, error)
        if isinstance(error, IdentityProviderError):
            await self._desk.accounts.note_refused(request.remote or "", tried=tried)
            logger.warning("log-in at the identity provider refused", extra={"reason": error.reason})
            status = 503 if error.args[0] == UNREACHABLE else status
        return await log_in_page(self._desk, request, status, to=to, trouble=trouble)
