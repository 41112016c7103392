"""Pause a channel, a destination or a lane until a person resumes it; no received message is lost by it.

A paused channel is closed, so that its analyzer keeps its results and sends them later; acknowledged messages are still
delivered. A paused destination (or lane: one channel's way to it, CHANNEL/DESTINATION) gets no further attempt, while
messages are received, mapped and queued as always. The pause outlives restarts; its person, time and reason are shown.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from engine.actions.pause_resume import KINDS, target_of
from engine.commands.shared.acting import without_daemon
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.selecting import given_duration, reason_option, sure_options, target_names
from engine.commands.shared.session import Session, consent, pass_session
from engine.model.errors import RefusedError, UnreachableError
from engine.model.journal.records import Target
from engine.model.process.clock import from_us
from engine.model.texts.units import duration_text
from engine.views.view import cell

F = TypeVar("F", bound=Callable[..., Any])

ORDER_TIMEOUT_S = 30.0
LOOK_EVERY_S = 0.2
EMPTY_LOOKS = 2  # in a row, so that nothing was just on its way from one queue to the next
DONE = {"pause": "is paused", "resume": "goes on", "restart": "was restarted"}
ALREADY = {"pause": "was paused already", "resume": "was not paused"}


def switching_verb(verb: str, help: str | None, *more: Callable[[F], F]) -> click.Command:
    """The verb: its target, the reason, and the options ``more``, of which it knows ``drain`` and ``within``."""

    def command(session: Session, /, kind: str, name: str, **given: Any) -> ExitCode:
        return _switch(session, verb, target_of(kind, name), **given)

    decorated = pass_session(command)
    for option in (
        form_option(Form.TABLE, Form.JSON),
        sure_options,
        *reversed(more),
        reason_option,
        click.argument("name", metavar="[NAME]", default="", shell_complete=target_names),
        click.argument("kind", type=click.Choice(KINDS), metavar="|".join(KINDS)),
    ):
        decorated = option(decorated)
    return click.command(verb, help=help)(decorated)


def _switch(
    session: Session,
    verb: str,
    target: Target,
    *,
    reason: str,
    yes: bool,
    dry_run: bool,
    form: Form,
    drain: bool = False,
    within: float = 0.0,
) -> ExitCode:
    """Look, ask, carry it out, and (``drain``) wait until no work is under way there."""
    wait_s = within if drain else None
    if not reason.strip():
        raise RefusedError(f"to {verb} something needs a reason: --reason TEXT")
    seen = _order(session, verb, target, reason, dry_run=True)
    if seen["changed"]:
        for text in seen["effects"]:
            say(f"{target.words}: {text}")
    if seen["warning"]:
        say(f"{target.words}: {seen['warning']}")
    if dry_run or not seen["changed"]:
        show_document(form, _document(seen, dry_run=dry_run), [_state(session, seen)])
        if wait_s is None or dry_run:
            return ExitCode.OK
    else:
        consent(f"{verb.capitalize()} {target.words}{_under_way(seen)}?", yes=yes)
        seen = _order(session, verb, target, reason, dry_run=False)
        if wait_s is None:
            show_document(form, _document(seen, dry_run=False), [_state(session, seen)])
            return ExitCode.OK
    return _drained(session, target, seen, wait_s, form)


def _order(session: Session, verb: str, target: Target, reason: str, *, dry_run: bool) -> dict[str, Any]:
    args = {"kind": target.kind, "name": target.name, "reason": reason, "dry_run": dry_run}
    try:
        return {**session.call(verb, args, timeout=ORDER_TIMEOUT_S), "daemon": True}
    except UnreachableError:
        if verb == "restart":
            raise
        return {**without_daemon(session, verb, args), "daemon": False}


def _drained(session: Session, target: Target, seen: dict[str, Any], wait_s: float, form: Form) -> ExitCode:
    """Wait; the order stays in force, whatever the result."""
    if not seen["daemon"]:
        raise UnreachableError(f"{target.words} is paused; no daemon runs, so nothing of it goes out")
    deadline = time.monotonic() + wait_s
    empty = 0
    while True:
        left = session.call("underway", {"kind": target.kind, "name": target.name})
        empty = empty + 1 if not _left(left) else 0
        if empty >= EMPTY_LOOKS or time.monotonic() >= deadline:
            break
        time.sleep(LOOK_EVERY_S)
    document = _document({**seen, **left}, dry_run=False) | {"drained": empty >= EMPTY_LOOKS}
    show_document(form, document, [_state(session, seen)])
    if empty >= EMPTY_LOOKS:
        return ExitCode.OK
    say(f"not all has ended within {duration_text(wait_s)}{_under_way(left)}; it stays paused")
    return ExitCode.TIMEOUT


def _left(seen: dict[str, Any]) -> int:
    """The work that a drain waits for: of a channel all received messages, else the attempts under way."""
    waited = ("connections", "stored", "waiting") if seen["kind"] == "channel" else ("in_flight",)
    return sum(int(seen[name]) for name in waited)


def _under_way(seen: dict[str, Any]) -> str:
    words = {
        "connections": "{n} connected",
        "stored": "{n} not mapped yet",
        "waiting": "{n} waiting",
        "in_flight": "{n} under way",
    }
    said = [text.format(n=seen[name]) for name, text in words.items() if seen[name]]
    return f" ({', '.join(said)})" if said else ""


def _state(session: Session, seen: dict[str, Any]) -> str:
    words = f"{seen['kind']} {seen['name']}".strip()
    if seen["changed"]:
        if seen["act"] is None:
            return f"would {seen['verb']} {words}{_under_way(seen)}"
        return f"{words} {DONE[seen['verb']]}{_under_way(seen)}"
    return f"{words} {ALREADY[seen['verb']]}{_by(seen['before'])}"


def _by(before: dict[str, Any] | None) -> str:
    if before is None:
        return ""
    said = f" by {before['by']}" if before["by"] else ""
    if before["since_us"]:
        said += f" since {cell(from_us(before['since_us']))}"
    return said + (f": {before['reason']}" if before["reason"] else "")


def _document(seen: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
    before = seen["before"]
    if before is not None:
        since = from_us(before["since_us"]) if before["since_us"] else None
        before = {"by": before["by"], "since": since, "reason": before["reason"]}
    return {**seen, "before": before, "dry_run": dry_run}


GROUP = "every day"

_drain = click.option(
    "--drain",
    is_flag=True,
    help="Wait until what is under way has ended: of a channel, until all it has received is delivered.",
)
_within = click.option(
    "--within", default="60s", show_default=True, metavar="TIME", callback=given_duration, help="With --drain: at most."
)
command = switching_verb("pause", __doc__, _drain, _within)
