"""Problems as answers (RFC 9457), each with an id that the log has, too."""

import logging
import math
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aiohttp import hdrs, web

from engine.model import errors
from engine.model.tables import table_lines
from engine.views.view import encoded

logger = logging.getLogger("labrelay.web")

CONTENT_TYPE = "application/problem+json"
TYPE = "urn:labrelay:problem:{}"
TRACE_HEADER = "X-Trace-Id"
_TRACE_BYTES = 8


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem; ``title`` is the same for all of a kind."""

    status: int
    title: str


def _kinds() -> Iterator[tuple[str, Kind]]:
    for line in table_lines(__file__, "problems.txt"):
        name, status, title = line.split(maxsplit=2)
        yield name.removesuffix(":"), Kind(int(status), title)


KINDS: Mapping[str, Kind] = dict(_kinds())
NARROW = "narrow it: name a channel, or a time by since and until"
# Errors of the engine, the first that fits.
_OF_ERRORS: tuple[tuple[type[errors.LabRelayError], str], ...] = (
    (errors.TooSlowError, "too-wide"),
    (errors.ErasedError, "gone"),
    (errors.AbsentError, "not-found"),
    (errors.ConfigError, "configuration"),
    (errors.RefusedError, "refused"),
    (errors.CutShortError, "cut-short"),
    (errors.LockedError, "unavailable"),
    (errors.OccupiedError, "unavailable"),
    (errors.UnreachableError, "unavailable"),
    (errors.StoreError, "unavailable"),
)
_OF_STATUS = {400: "not-understood", 401: "log-in", 403: "not-permitted", 404: "not-found", 405: "method",
              413: "too-large", 421: "misdirected", 500: "inside", 503: "unavailable"}  # fmt: skip


def of(error: errors.LabRelayError) -> errors.ProblemError:
    """The problem that an error of the engine is for the caller."""
    if isinstance(error, errors.ProblemError):
        return error
    kind = next((kind for known, kind in _OF_ERRORS if isinstance(error, known)), "not-possible")
    if isinstance(error, errors.ConfigError):
        return errors.ProblemError(
            kind, "; ".join(error.problems), errors=[{"detail": text} for text in error.problems]
        )
    return errors.ProblemError(kind, NARROW if kind == "too-wide" else str(error))


def document(problem: errors.ProblemError, trace: str) -> dict[str, object]:
    kind = KINDS[problem.kind]
    said: dict[str, object] = {
        "type": TYPE.format(problem.kind),
        "title": kind.title,
        "status": kind.status,
        "detail": str(problem),
        "trace_id": trace,
    }
    return said | ({"errors": list(problem.errors)} if problem.errors else {})


def of_any(error: Exception) -> errors.ProblemError:
    """As `of`; an error of ours that was not meant is a problem inside."""
    if isinstance(error, errors.LabRelayError):
        problem = of(error)
    else:
        problem = errors.ProblemError("inside", "the log says where, with this trace id")
    if problem is not error:
        problem.__cause__ = error
    return problem


def noted(problem: errors.ProblemError, path: str, trace: str = "") -> str:
    """Write the problem to the log, without a text of the request; return its trace id, a new one where it has none."""
    trace, status = trace or secrets.token_hex(_TRACE_BYTES), KINDS[problem.kind].status
    logger.log(
        logging.ERROR if status >= 500 else logging.INFO,
        "a request to the API was not served",
        extra={"trace": trace, "status": status, "reason": problem.kind, "path": path},
        exc_info=problem.__cause__ if status >= 500 else None,
    )
    return trace


def answer(problem: errors.ProblemError, request: web.Request) -> web.Response:
    resource = request.match_info.route.resource
    trace, status = noted(problem, resource.canonical if resource else ""), KINDS[problem.kind].status
    response = web.Response(status=status, body=encoded(document(problem, trace)), content_type=CONTENT_TYPE)
    response.headers[TRACE_HEADER] = trace
    if problem.retry_after:
        response.headers[hdrs.RETRY_AFTER] = str(max(1, math.ceil(problem.retry_after)))
    if status == 401:
        response.headers[hdrs.WWW_AUTHENTICATE] = "Bearer"
    return response


def page(request: web.Request, status: int, message: str) -> web.Response:
    """As an error page of `engine.web.guard.wall`, for a request to the API that no handler has served."""
    return answer(errors.ProblemError(_OF_STATUS.get(status, "not-understood"), message), request)
