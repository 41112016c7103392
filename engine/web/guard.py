"""The page's outer wall: checks on every request, headers on every answer.

A browser of this machine or of the laboratory is a way in: a foreign site may point its own name at our address (DNS
rebinding) and read answers as its own. Therefore a request is answered only under names of this machine (RFC 9110, 7.4:
421 otherwise).
"""

import ipaddress
import logging
from collections.abc import Callable, Collection, Mapping
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from engine.model.errors import AbsentError, StoreError
from engine.model.texts.phrases import N_, PageText

logger = logging.getLogger("labrelay.web")

ErrorPage = Callable[[web.Request, int, str], web.Response]

MESSAGES: dict[int, PageText] = {
    400: "This request cannot be understood.",
    401: "Please log in.",
    403: "You may not do this. Please ask the person who administers LabRelay here.",
    404: "There is no such page.",
    405: "This page can only be read.",
    408: "This request came too slowly.",
    413: "This request is too large.",
    415: "This is no form of this page.",
    421: "This page answers only under this computer's own names, such as localhost.",
    500: "LabRelay could not make this page. Its log says why.",
    503: "Too many readers at once. Please try again in a moment.",
}
RETRY_S = web.RequestKey("seconds until the same request may be served", int)
USUAL_RETRY_S = 5
EXPIRED = N_("This form is too old. Please open the page again.")
UNREADABLE = N_("The journal cannot be read just now.")
HEADERS = {
    # No inline script or style, no foreign resources, no frames: injected text stays text. Forms send queries only.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # To our own pages alone; with "no-referrer" browsers would call the origin of our own forms null.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


def host_allowed(header: str, names: Collection[str]) -> bool:
    """Whether a ``Host`` header names this machine: loopback in any spelling, or one of ``names``.

    ``*.lab.example`` among them is each name with one part before ``.lab.example`` (RFC 6125, 6.4.3).
    """
    host = header.strip().lower()
    if host.startswith("["):
        host, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return False
        port = port[1:]
    else:
        host, _, port = host.partition(":")
    if port and not port.isdecimal():
        return False
    return host in names or f"*.{host.partition('.')[2]}" in names or _is_loopback(host)


def machine_allowed(header: str, names: Collection[str]) -> bool:
    """As `host_allowed`, for a server that other machines may reach: also an address, since no name leads elsewhere."""
    host = header.strip().lower()
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host_allowed(header, names)
    return True


def from_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a page of another site sends this: its browser declares it, and a page cannot change that.

    Programs send neither header (Fetch: ``Origin``; Fetch Metadata Request Headers: ``Sec-Fetch-Site``).
    """
    origin, host = headers.get(hdrs.ORIGIN), headers.get(hdrs.HOST, "").strip().lower()
    try:
        if origin is not None and urlsplit(origin.strip().lower()).netloc != host:
            return True
    except ValueError:  # no address at all
        return True
    return headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")


def wall(error_page: ErrorPage, refusal: Callable[[web.Request], int]) -> Middleware:
    """The middleware: turns refusals and errors into plain pages, and exposes no internals.

    Args:
        refusal: the status for a request that is not looked at any further; 0: none.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if refused := refusal(request):
            return error_page(request, refused, MESSAGES[refused])
        try:
            return await handler(request)
        except web.HTTPException as error:
            known = error.text if error.text == EXPIRED else MESSAGES.get(error.status, MESSAGES[400])
            page = error_page(request, error.status, known)
            for name in (hdrs.ALLOW, hdrs.CONNECTION, hdrs.RETRY_AFTER):
                if name in error.headers:
                    page.headers[name] = error.headers[name]
            return page
        except ConnectionResetError:
            raise
        except AbsentError:
            return error_page(request, 404, MESSAGES[404])
        except StoreError:
            return error_page(request, 503, UNREADABLE)
        except Exception:
            resource = request.match_info.route.resource
            logger.exception("page failed", extra={"path": resource.canonical if resource else ""})
            return error_page(request, 500, MESSAGES[500])

    return middleware


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """The ``on_response_prepare`` signal: headers on every answer, errors and streams included."""
    response.headers.update(HEADERS)
    if response.status in (429, 503):
        response.headers.setdefault(hdrs.RETRY_AFTER, str(request.get(RETRY_S, USUAL_RETRY_S)))
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    response.headers.popall(hdrs.SERVER, None)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
