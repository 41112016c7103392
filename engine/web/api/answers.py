"""Documents as answers: JSON for callers that take it, under their conditions."""

from aiohttp import hdrs, web

from engine.model.errors import ProblemError
from engine.views.encoding import encoded
from engine.web import bodies
from engine.web.bodies import Body, matches

CONTENT_TYPE = bodies.JSON
_TAKEN = frozenset({"*/*", "application/*", CONTENT_TYPE})


def body_of(document: dict[str, object]) -> Body:
    return Body(encoded(document))


def require_json_taken(request: web.Request) -> None:
    """
    Raises:
        ProblemError: the caller accepts no JSON.
    """
    accepted = request.headers.get(hdrs.ACCEPT, "*/*")
    kinds = (one.partition(";") for one in accepted.split(","))
    if not any(
        kind.strip().lower() in _TAKEN and "q=0" not in more.replace(" ", "").split(";") for kind, _, more in kinds
    ):
        raise ProblemError("not-acceptable", f"accept {CONTENT_TYPE}")


def answer(request: web.Request, body: Body) -> web.Response:
    """The answer, by the caller's conditions (RFC 9110, 13.1).

    Raises:
        ProblemError: ``If-Match`` names another version.
    """
    if hdrs.IF_MATCH in request.headers and not matches(request.headers[hdrs.IF_MATCH], body.etag):
        raise ProblemError("changed", "it is not what If-Match names")
    return bodies.answer(request, body)
