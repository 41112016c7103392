"""Log-in at the identity provider: the way there, and the way back with a code; and log-out.

The provider sends a browser back from another site, so the browser sends no cookie of ours with that first request
(``SameSite=Strict``). The answer is a page of ours that asks for the same address once more: now they come along, and
the code is taken.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from engine.features.access.config import BACK
from engine.features.access.pages.log_in import enter, log_in_page
from engine.features.access.rules.accounts import LATE, UNREACHABLE
from engine.features.access.service.accounts import Accounts
from engine.model.errors import IdentityProviderError, LabRelayError
from engine.web.desk import LOG_IN, Desk, local_path
from engine.web.forms import read_fields
from engine.web.identity import BROWSER, SIGNED_IN, cookie, drop_cookie, set_cookie
from engine.web.routes import OPEN_TO_ALL, PRINCIPAL, Route
from engine.web.sender import sender_of

if TYPE_CHECKING:
    from engine.features.access.client.flow import Flow

logger = logging.getLogger("labrelay.web")

START = "/log-in/oidc"
LEFT, ENDED = "/log-in/oidc/out", "/log-in/oidc/ended"
COOKIE, LEAVING = "labrelay-oidc", "labrelay-oidc-out"
FOR_S = 600
MOST_NOTICE = 16 * 1024  # bytes
AGAIN = "again"


class OidcPages:
    """Where people log in who have no password here.

    Args:
        address: of the page, as the provider knows it, without a path; never taken from a request.
    """

    def __init__(self, desk: Desk, accounts: Accounts, address: Callable[[], str]) -> None:
        self._desk = desk
        self._accounts = accounts
        self._address = address

    def routes(self) -> Sequence[Route]:
        return (
            Route(START, self._start, OPEN_TO_ALL),
            Route(BACK, self._back, OPEN_TO_ALL),
            Route(LEFT, self._left, OPEN_TO_ALL),
            Route(ENDED, self._ended, OPEN_TO_ALL, method="POST"),
        )

    async def _start(self, request: web.Request) -> web.Response:
        address, to = self._address(), local_path(request.query.get("next", "/"))
        flow = await self._flow()
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
        flow = await self._flow()
        sealed, query = cookie(request, COOKIE), request.query
        if not sealed and AGAIN not in query:
            return await self._desk.page(request, "log_in_again", address=f"{request.path_qs}&{AGAIN}=1")
        try:
            if len(set(query)) != len(query):  # a name twice
                raise IdentityProviderError(LATE, "address")
            await self._accounts.raise_if_locked(sender_of(request))
            proven = await flow.finish(sealed, query)
            done = await self._accounts.come_in(
                proven.identity, kept=proven.kept, address=sender_of(request), device=cookie(request, BROWSER)
            )
        except LabRelayError as error:
            answer = await self._refused(request, error, tried=error.args[0] != LATE)
        else:
            answer = await enter(self._desk, self._accounts, request, done, local_path(proven.to))
        drop_cookie(request, answer, COOKIE)
        return answer

    async def leave(self, request: web.Request, kept: str) -> web.Response:
        """The page after a log-out here; it leads on to that at the provider.

        A page and no redirect: the policy for forms (``form-action``) lets none lead to another site.
        """
        for known in (SIGNED_IN, PRINCIPAL):  # the page is for a stranger
            request.pop(known, None)
        flow = await self._accounts.provider.flow(*self._ways())
        begun = await flow.leave(kept) if flow is not None else None
        if begun is None:
            return await self._desk.page(request, "logged_out", address="", there=False)
        answer = await self._desk.page(request, "logged_out", address=begun.address, there=False)
        set_cookie(request, answer, LEAVING, begun.sealed, FOR_S)
        return answer

    async def _left(self, request: web.Request) -> web.Response:
        flow, sealed = await self._flow(), cookie(request, LEAVING)
        if not sealed and AGAIN not in request.query:
            return await self._desk.page(
                request, "log_in_again", address=str(request.rel_url.update_query({AGAIN: "1"}))
            )
        if not flow.has_left(sealed, request.query.get("state", "")):
            return self._desk.go(request, LOG_IN)
        answer = await self._desk.page(request, "logged_out", address="", there=True)
        drop_cookie(request, answer, LEAVING)
        return answer

    async def _ended(self, request: web.Request) -> web.Response:
        flow = await self._flow()
        _, fields = await read_fields(request, MOST_NOTICE)
        try:
            end = partial(self._accounts.end_by_provider, address=sender_of(request))
            await flow.ended(fields.get("logout_token", ""), end)
        except IdentityProviderError as error:
            logger.warning("notice of an ended log-in refused", extra={"reason": error.reason})
            return web.json_response({"error": "invalid_request"}, status=400)
        return web.Response()

    async def _flow(self) -> "Flow":
        """
        Raises:
            web.HTTPNotFound: the site has no provider.
        """
        flow = await self._accounts.provider.flow(*self._ways())
        if flow is None:
            raise web.HTTPNotFound
        return flow

    def _ways(self) -> tuple[str, str]:
        address = self._address()
        return address + BACK, address + LEFT

    async def _refused(self, request: web.Request, error: LabRelayError, to: str = "/", *, tried: bool) -> web.Response:
        status, trouble = self._desk.refused(request, error)
        if isinstance(error, IdentityProviderError):
            await self._accounts.note_refused(sender_of(request), tried=tried)
            logger.warning("log-in at the identity provider refused", extra={"reason": error.reason})
            status = 503 if error.args[0] == UNREACHABLE else status
        return await log_in_page(self._desk, self._accounts, request, status, to=to, trouble=trouble)
