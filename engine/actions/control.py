"""The daemon's local socket, as a command uses it: HTTP over ``<data>/labrelay.sock``.

    POST /v1/retry      {"selection": {...}, ...}        the arguments, as JSON
    200                 {...}                            the result, or, of a verb that is followed, items line by line:
                        {"item": {...}}                  until either side closes
    400, 500            {"error": "config", "problems": ["channels/a.yaml:3:1: ..."]}, or "message"

The socket has mode 0600. Where the site's file gives system users a role it has 0660, and each request is checked
against the permissions of its verb (`engine.actions.admission`).
``error`` is one of `ERRORS`; the client raises the same class that the daemon's handler raised. Arguments and results
carry names, numbers and reason codes, never the content of messages. There are two exceptions: ``content`` of the verbs
of `WITH_CONTENT`, in base 64; and a tap, whose lines are masked until the audit row that names the reader is durable.
The verbs and their arguments are in `engine.actions.verbs`. Beside the arguments is ``stated``: what the
environment of the command says of its user (`engine.model.site.actor.STATED`).

An outcome is ``{"count", "act", "done", "going_on"}``: the number of selected items, the id of the row that was written
before the action began (null for a dry run, or where the action is one row), the results by name, and whether it takes
longer than a command waits and continues in the daemon. The outcome of a dry run about dead letters or held results
also has ``counted_us``, which the selection of the following action repeats: nothing is done that was not counted.
"""

import base64
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.model import errors
from engine.model.site.actor import stated_by
from engine.model.texts.phrases import Said, unpacked

if TYPE_CHECKING:
    from http.client import HTTPResponse

VERSION = 1
SOCKET_NAME = "labrelay.sock"
MAX_REQUEST_BYTES = 64 * 1024
MAX_CONTENT_BYTES = 64 * 1024 * 1024  # more than any channel takes
WITH_CONTENT = frozenset({"edit"})
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_PATH_BYTES = 100  # the kernel's limit is 108 with the final NUL


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The input of a handler.

    Attributes:
        actor: the user of the client, according to the kernel; goes into the audit row.
        content: a message, where the verb takes one; never logged.
        reads_notes: as of `Principal`. sees_contents: this one may see the contents of messages.
    """

    verb: str
    actor: str
    args: Mapping[str, Any] = field(default_factory=dict)
    content: bytes = field(default=b"", repr=False)
    reads_notes: bool = False
    sees_contents: bool = False


Handler = Callable[[Request], Awaitable[dict[str, Any]]]
Follower = Callable[[Request], AsyncGenerator[dict[str, Any], None]]


# The name on the wire and the class on both ends; the first match is sent.
ERRORS: dict[str, type[errors.LabRelayError]] = {
    "config": errors.ConfigError,
    "locked": errors.LockedError,
    "erased": errors.ErasedError,
    "absent": errors.AbsentError,
    "too slow": errors.TooSlowError,
    "integrity": errors.IntegrityError,
    "store": errors.StoreError,
    "refused": errors.RefusedError,
    "unreachable": errors.UnreachableError,
    "failed": errors.LabRelayError,
}


def call(
    path: Path, verb: str, args: Mapping[str, Any] | None = None, *, timeout: float = 10.0, content: bytes = b""
) -> dict[str, Any]:
    """Send a request to the daemon and wait for its answer; blocks.

    Args:
        path: the socket, ``<data>/labrelay.sock``.
        timeout: seconds for the answer.
        content: for a verb of `WITH_CONTENT`.

    Raises:
        UnreachableError: no daemon runs there.
        RefusedError: we may not talk to it, or not give this verb.
        TimeoutError: it did not answer in time.
        LabRelayError: the error of the handler, as the same class.
    """
    if len(content) > MAX_CONTENT_BYTES:
        raise errors.LabRelayError(f"larger than {MAX_CONTENT_BYTES} bytes")
    with _asked(path, verb, args or {}, timeout, content) as (_, answer):
        return _read(answer)


def follow(
    path: Path, verb: str, args: Mapping[str, Any] | None = None, *, until: float | None = None, timeout: float = 10.0
) -> Iterator[dict[str, Any]]:
    """Send a request that the daemon answers continuously, and yield its items as they come; blocks.

    Args:
        until: monotonic instant of the end; None: until the daemon or the caller ends it.
        timeout: seconds for the first answer.

    Raises:
        UnreachableError: no daemon runs there, or it has ended.
        LabRelayError: the error of the follower, as the same class.
    """
    with _asked(path, verb, args or {}, timeout) as (line, answer):
        while until is None or time.monotonic() < until:
            try:
                said = answer.readline()
            except TimeoutError:
                if until is not None and time.monotonic() >= until:
                    return
                raise
            except OSError:
                said = b""
            if not said.endswith(b"\n"):
                raise errors.UnreachableError("the daemon has ended, or was restarted")
            item = json.loads(said)
            if "item" not in item:
                raise error_of(item)
            yield item["item"]
            line.settimeout(None if until is None else max(0.001, until - time.monotonic()))


@contextlib.contextmanager
def _asked(
    path: Path, verb: str, args: Mapping[str, Any], timeout: float, content: bytes = b""
) -> Iterator[tuple[socket.socket, "HTTPResponse"]]:
    """The connection that carries the request, and the beginning of the answer.

    Raises:
        UnreachableError, TimeoutError: system errors of a socket that does not answer, with helpful texts.
    """
    from http.client import HTTPConnection, HTTPException  # 30 ms, which a command without a daemon can save

    asked: dict[str, Any] = {**args, "stated": stated_by(os.environ)}
    body = packed(asked)
    if len(body) >= MAX_REQUEST_BYTES:
        raise errors.LabRelayError(
            "too much for one command; name fewer messages, or a filter: --channel, --since, --until"
        )
    if content:
        body = packed({**asked, "content": base64.b64encode(content).decode()})
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as line:
        line.settimeout(timeout)
        connection = HTTPConnection("labrelay")
        connection.sock = line  # connected here, since it is no TCP address
        try:
            with short(path) as address:
                line.connect(address)
            connection.request("POST", f"/v{VERSION}/{verb}", body, {"Content-Type": "application/json"})
            with connection.getresponse() as answer:
                if answer.status != 200:
                    raise error_of(_read(answer))
                yield line, answer
        except (HTTPException, ConnectionResetError, BrokenPipeError) as error:
            raise _not_understood() from error
        except TimeoutError as error:
            raise TimeoutError(f"the daemon did not answer within {timeout:g} s") from error
        except PermissionError as error:
            raise errors.RefusedError(
                f"{path} is closed to this account; use sudo, or ask for a role (access: system_users in "
                "config/labrelay.yaml) and the group of the service"
            ) from error
        except OSError as error:
            raise errors.UnreachableError(
                f"no daemon runs for this site ({path.parent}); start it with: labrelay run"
            ) from error


def packed(said: Mapping[str, Any]) -> bytes:
    """JSON as it travels."""
    return json.dumps(said, separators=(",", ":")).encode()


def _not_understood() -> errors.UnreachableError:
    return errors.UnreachableError("the daemon's answer cannot be read; the command and the daemon may differ")


def _read(answer: "HTTPResponse") -> dict[str, Any]:
    try:
        said = json.loads(answer.read(MAX_ANSWER_BYTES))
    except ValueError as error:
        raise _not_understood() from error
    if not isinstance(said, dict):
        raise _not_understood()
    return said


def said(error: errors.LabRelayError) -> dict[str, Any]:
    """An error as JSON; ``phrase`` where a page can say it in another language."""
    if isinstance(error, errors.ConfigError):
        return {"error": "config", "problems": list(error.problems)}
    kind = next(name for name, known in ERRORS.items() if isinstance(error, known))
    text = error.args[0] if error.args else ""
    return {
        "error": kind,
        "message": str(error),
        **({"phrase": text.phrase.packed()} if isinstance(text, Said) else {}),
    }


def error_of(said: Mapping[str, Any]) -> errors.LabRelayError:
    """The error of `said`, as the same class."""
    if said.get("error") == "config":
        return errors.ConfigError(*said.get("problems", ()))
    text = Said.of(unpacked(said["phrase"])) if "phrase" in said else said.get("message", "")
    return ERRORS.get(said.get("error", ""), errors.LabRelayError)(text)


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """An address for ``path`` within the kernel's limit, relative to an open folder if needed."""
    if len(os.fsencode(path)) <= MAX_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
