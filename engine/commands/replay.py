"""Send stored documents of messages again, to the destinations they went to or to another one.

Select by number, time, channel, destination, specimen, control id, state. The deliveries keep their keys, so that a
destination recognises a repeat; documents that are held, rejected, dismissed, superseded or dead letters are left out.
Newer messages of the same reports go along, in order, so that no result ends as an older version. Where the newer ones
are at least as many as the selected ones, a reason is required (--reason). Nothing is mapped again.

A replay lets new messages pass: its next message is sent only while nothing new waits for the same destination; under
constant load, one is sent every half a second. It goes on in the daemon if the terminal is lost. Ctrl-C stops it; the
printed number resumes it (--resume), also after a crash or a restart: nothing is left out, and nothing is sent twice.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isnan
from typing import Any

import click

from engine.actions.selection import REPLAY_STATES
from engine.actions.underway import DEFAULT_RATE
from engine.commands.shared.acting import ACT_TIMEOUT_S, ask
from engine.commands.shared.completing import destination_names
from engine.commands.shared.output import ExitCode, Form, form_option, on_terminal, say, show_document, show_rows
from engine.commands.shared.selecting import (
    ROW,
    asked_for,
    filter_options,
    raise_if_missing,
    raise_if_unknown,
    selection,
    sure_options,
    word,
)
from engine.commands.shared.session import Session, consent, pass_session
from engine.model.errors import UnreachableError
from engine.store.queries.replays import unfinished_replays
from engine.views.acts import REPLAY
from engine.views.text import plural

GROUP = "when something is wrong"

LOOKS_S = (0.05, 0.1, 0.2, 0.5)  # between two looks at a replay: short at first, then the last
LINE_EVERY_S = 10.0  # where there is no terminal for a bar
BAR = 30


@click.command(help=__doc__)
@click.argument("ids", nargs=-1, type=ROW, metavar="[MESSAGE]...")
@filter_options("channel", "since", "until")
@click.option(
    "--destination",
    metavar="NAME",
    shell_complete=destination_names,
    help="Only documents that went to this destination.",
)
@click.option(
    "--specimen",
    metavar="NUMBER",
    callback=asked_for,
    help="With this number of a specimen or order; `-` asks for it.",
)
@click.option("--control-id", metavar="TEXT", help="With this control id (MSH-10, H-3).")
@click.option(
    "--state",
    type=word(REPLAY_STATES),
    metavar="STATE",
    help=f"With a delivery in this state: {', '.join(REPLAY_STATES)}. Without it, the first.",
)
@click.option(
    "--to",
    metavar="NAME",
    shell_complete=destination_names,
    help="Send them to this destination, also where they have not been yet.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.01, 100_000),
    help=f"Messages per second, at most.  [default: {DEFAULT_RATE:g}, or what it was]",
)
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the audit trail.")
@click.option("--all", "everything", is_flag=True, help="Everything there is.")
@click.option("--resume", type=ROW, metavar="NUMBER", help="Take up a replay again where it was, or watch it.")
@click.option("--unfinished", is_flag=True, help="List replays that have not come to their end.")
@click.option("--give-up", type=ROW, metavar="NUMBER", help="Never take up this replay again.")
@sure_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(
    session: Session,
    /,
    ids: tuple[int, ...],
    to: str | None,
    rate: float | None,
    reason: str,
    everything: bool,
    resume: int | None,
    unfinished: bool,
    give_up: int | None,
    dry_run: bool,
    yes: bool,
    form: Form,
    specimen: str | None,
    control_id: str | None,
    **given: Any,
) -> ExitCode:
    others = [
        name
        for name, said in (("--unfinished", unfinished or None), ("--resume", resume), ("--give-up", give_up))
        if said is not None
    ]
    if others and (
        len(others) > 1 or dry_run or ids or everything or to or reason or specimen or control_id or any(given.values())
    ):
        raise click.UsageError(f"{others[0]} cannot be combined with a selection, --to or --dry-run")
    if rate is not None and isnan(rate):
        raise click.BadParameter("nan is no rate", param_hint="'--rate'")
    if unfinished:
        return _list(session, form)
    if give_up is not None:
        consent(f"Give up replay {give_up}? What it has not sent again by now, it never will.", yes=yes)
        ask(session, "replay_forget", {"number": give_up})
        show_document(form, {"verb": "replay", "given_up": give_up}, [f"replay {give_up} is given up"])
        return ExitCode.OK
    if resume is not None:
        begun = ask(session, "replay_resume", {"number": resume, "rate": rate})
        return _watched(session, begun, form)
    chosen = selection(session, ids, everything=everything, specimen=specimen, number=control_id, **given)
    rate = rate or DEFAULT_RATE

    args = {"selection": chosen.to_json(), "reason": reason, "to": to, "rate": rate}
    counted = ask(session, "replay", {**args, "dry_run": True})
    count, newer, new = counted["count"], counted["newer"], counted.get("new", 0)
    along = f" and {newer} newer of the same reports" if newer else ""
    if not count:
        raise_if_unknown(session, channel=chosen.channel, destination=chosen.destination)
        raise_if_missing(session, chosen.ids)
    if dry_run or not count:
        lines = [f"{count} selected{along}" + (f", {new} of them never sent to {to} before" if new else "")]
        show_document(form, {"verb": "replay", "dry_run": dry_run, **counted}, lines)
        return ExitCode.FAILED if chosen.ids and not count else ExitCode.OK
    never = f" ({new} of them were never sent there)" if new else ""
    if counted["needs_reason"] and not reason.strip():
        raise click.UsageError(
            f"{newer} newer messages of the same reports go along with the {count} selected; say why with --reason TEXT"
        )
    consent(f"Send {plural(count, 'message')}{along} again{f' to {to}' if to else ''}{never}?", yes=yes)
    with _interrupted_later() as interrupted:  # until its number is known
        begun = ask(session, "replay", {**args, "dry_run": False})
    return _watched(session, begun, form, stop=interrupted())


# -- watching --------------------------------------------------------------------------------------------------------


@contextmanager
def _interrupted_later() -> Iterator[Callable[[], bool]]:
    """Meanwhile Ctrl-C does not interrupt; the yielded function returns whether it was pressed."""
    seen: list[int] = []
    try:
        before = signal.signal(signal.SIGINT, lambda number, _: seen.append(number))
    except ValueError:  # not the main thread, which alone hears of signals
        before = None
    try:
        yield lambda: bool(seen)
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _watched(session: Session, begun: dict[str, Any], form: Form, *, stop: bool = False) -> ExitCode:
    """Follow a replay to its end, and report the result. Ctrl-C (or ``stop``) stops it."""
    number, state = begun["act"], "ended"
    if begun["going_on"]:
        try:
            if stop:
                raise KeyboardInterrupt
            progress = _follow(session, number)
        except KeyboardInterrupt:
            progress = session.call("replay_stop", {"number": number}, timeout=ACT_TIMEOUT_S)
        except (UnreachableError, TimeoutError):
            say(f"the daemon does not answer any more; once it does, go on with: labrelay replay --resume {number}")
            raise
        begun, state = {**begun, "done": progress["outcome"], "going_on": False}, progress["state"]
    document = {"verb": "replay", "dry_run": False, "state": state, **begun}
    done = ", ".join(f"{count} {name}" for name, count in begun["done"].items())
    along = f" and {begun['newer']} newer of the same reports" if begun.get("newer") else ""
    show_document(form, document, [f"{begun['count']} selected{along}: {done}"])
    if kept := begun["done"].get("overtaken"):
        say(f"{kept} kept back, since newer messages brought some of these: labrelay held list --code OVERTAKEN")
    if state == "stopped":
        say(f"stopped; go on with: labrelay replay --resume {number}")
        return ExitCode.INTERRUPTED
    if state == "failed":
        say(f"it failed, and the daemon's log says why; go on with: labrelay replay --resume {number}")
        return ExitCode.FAILED
    return ExitCode.PARTLY if begun["done"].get("failed") else ExitCode.OK


def _follow(session: Session, number: int) -> dict[str, Any]:
    """The last progress of a replay, reported on the way."""
    bar, last, looks = on_terminal(), time.monotonic(), 0
    while True:
        progress = session.call("replay_status", {"number": number})
        if progress["state"] != "running":
            if bar:
                click.echo("\r\x1b[K", nl=False, err=True)
            return progress
        if bar:
            click.echo(f"\r{_bar(progress)} {_words(progress)}\x1b[K", nl=False, err=True)
        elif time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            say(_words(progress))
        time.sleep(LOOKS_S[min(looks, len(LOOKS_S) - 1)])
        looks += 1


def _bar(progress: dict[str, Any]) -> str:
    filled = BAR * progress["done"] // max(progress["total"], 1)
    return f"[{'#' * filled}{'.' * (BAR - filled)}]"


def _words(progress: dict[str, Any]) -> str:
    """``120/500 messages, 48.2/s, 8 s left, 0 failed; waits: live messages go first``."""
    left = f"{progress['left_s']} s left" if progress["left_s"] is not None else "? s left"
    told = f"{progress['done']}/{progress['total']} messages, {progress['rate']}/s, {left}, {progress['failed']} failed"
    return told + (f"; waits: {progress['waits']}" if progress["waits"] else "")


def _list(session: Session, form: Form) -> ExitCode:
    with session.reader() as reader:
        found = show_rows(form, REPLAY, unfinished_replays(reader), "no replay is unfinished")
    if found and form is Form.TABLE:
        say("go on with: labrelay replay --resume NUMBER")
    return ExitCode.OK
