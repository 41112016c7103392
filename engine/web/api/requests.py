"""The arguments of a request: found in its address or in a JSON body, and checked.

Documents as answers: JSON for callers that take it, under their conditions.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from aiohttp import hdrs, web
from pydantic import BaseModel, ValidationError

from engine.model.errors import ProblemError
from engine.views.view import encoded
from engine.web import bodies
from engine.web.bodies import Body, matches
from engine.web.routes import allow_again

MAX_BODY_BYTES = 64 * 1024
BODY_WITHIN_S = 10.0

M = TypeVar("M", bound=BaseModel)


def in_address(request: web.Request) -> dict[str, str]:
    """The arguments of path and query.

    Raises:
        ProblemError: one is given twice.
    """
    given = {**request.match_info}
    twice = [name for name in request.query if name in given or len(request.query.getall(name)) > 1]
    if twice:
        errors = [{"parameter": name[:100], "detail": "it is given twice"} for name in dict.fromkeys(twice)]
        raise ProblemError("arguments", "an argument is given once", errors=errors)
    return {**given, **request.query}


async def in_body(request: web.Request, most: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """The JSON object of the body.

    Raises:
        ProblemError: it is none, too large, or does not come.
    """
    if request.content_type != CONTENT_TYPE:
        raise ProblemError("media-type", f"send it as {CONTENT_TYPE}")
    if (request.content_length or 0) > most:
        raise ProblemError("too-large", f"a body has at most {most} bytes")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for part in request.content.iter_any():
                body += part
                if len(body) > most:
                    raise ProblemError("too-large", f"a body has at most {most} bytes")
    except TimeoutError:
        raise ProblemError("not-understood", f"the body did not come within {BODY_WITHIN_S:g} s") from None
    except web.RequestPayloadError:
        raise ProblemError("not-understood", "the body broke off") from None
    await allow_again(request)
    try:
        found = orjson.loads(body)
    except ValueError:
        raise ProblemError("not-understood", "the body is not JSON") from None
    if not isinstance(found, dict):
        raise ProblemError("not-understood", "the body is a JSON object")
    return found


def header(headers: Mapping[str, str], name: str, most: int) -> str:
    """A header's value; empty without it.

    Raises:
        ProblemError: it is too long, or has control characters.
    """
    value = headers.get(name, "").strip()
    if len(value) > most or not value.isprintable():
        raise ProblemError("not-understood", f"{name} has at most {most} printable characters")
    return value


def arguments(model: type[M], given: Mapping[str, Any], *, body: bool = False) -> M:
    """The arguments of a request.

    Args:
        body: they are the members of a JSON object: then an error has a JSON pointer, not the name of a parameter.

    Raises:
        ProblemError: they do not fit; it names each field, and no value.
    """
    try:
        return model.model_validate(given, strict=None if body else False)  # an address has texts only
    except ValidationError as error:
        errors = [
            {_PLACE[body]: _place(one["loc"], body=body), "detail": one["msg"]}
            for one in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        names = ", ".join(dict.fromkeys(one[_PLACE[body]] for one in errors))
        raise ProblemError("arguments", f"wrong: {names}", errors=errors) from None  # the other error has values


_PLACE = {False: "parameter", True: "pointer"}


def _place(location: tuple[int | str, ...], *, body: bool) -> str:
    steps = [str(step).replace("~", "~0").replace("/", "~1")[:100] for step in location]
    return "/".join(["#", *steps]) if body else ".".join(steps)


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
