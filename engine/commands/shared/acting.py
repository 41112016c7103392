"""Verbs that act: count, ask the person, have the daemon act, report the result.

Without a daemon the command takes the lock of the data folder and runs the daemon's handlers itself.

Follow an operation on many messages to its end, and say how far it is meanwhile.

Patient data shown to a person: its purpose is stated, and the row of the audit trail comes first.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engine.commands.shared import selecting
from engine.commands.shared.output import ExitCode, Form, form_option, on_terminal, say, show_document
from engine.commands.shared.session import Session, consent, pass_session
from engine.model.errors import ConfigError, LabRelayError, UnreachableError
from engine.model.process.clock import SystemClock

if TYPE_CHECKING:
    from engine.actions.selection import Selection
    from engine.config.load import Site
    from engine.model.routes import ChannelRoutes
    from engine.store.operations.bulk import Operation

F = TypeVar("F", bound=Callable[..., Any])

LEFT = (  # outcomes of letters that were left as they are
    *("skipped", "damaged", "erased", "no_channel", "no_document", "incomplete"),
    *("still_dead", "failed", "overtaken", "too_old", "conflicts", "unanswered"),
)
ACT_TIMEOUT_S = 70.0


def acting_verb(
    group: click.Group,
    verb: str,
    what: str,
    *filters: Callable[[F], F],
    help: str,
    reason_given: Callable[[F], F] = selecting.reason_option,
    overwriting: str = "",
    numbers: str = "[MESSAGE]...",
    everything: bool = True,
    before: Callable[[Session, "Selection", bool], None] = lambda session, chosen, asked: None,
) -> None:
    """Add a verb to ``group`` that counts, asks, acts, and reports the result.

    Args:
        what: the action in words for the question, ``Retry {n} dead letter{s}?``.
        filters: its options for selection.
        overwriting: the question with ``--overwrite``, where the verb has that option.
        numbers: of messages; in brackets where a filter is an alternative.
        everything: it may take all there are.
        before: shows what was counted, before the question; takes whether a person is asked.
    """

    def act(session: Session, /, ids: tuple[int, ...], dry_run: bool, yes: bool, form: Form, **given: Any) -> ExitCode:
        chosen = selecting.selection(session, ids, **{"everything": False} | given)
        args = {"reason": given["reason"]}
        if given.get("overwrite"):
            more = args | {"overwrite": True}
            return _carry_out(session, verb, chosen, overwriting, more, form, before, dry=dry_run, yes=yes)
        return _carry_out(session, verb, chosen, what, args, form, before, dry=dry_run, yes=yes)

    argument = click.argument("ids", nargs=-1, required=numbers[0] != "[", type=selecting.ROW, metavar=numbers)
    sure = selecting.act_options if everything else selecting.sure_options
    decorated = pass_session(act)
    for option in (form_option(Form.TABLE, Form.JSON), sure, *reversed(filters), reason_given, argument):
        decorated = option(decorated)
    group.command(verb, help=help)(decorated)


def _carry_out(
    session: Session,
    verb: str,
    chosen: "Selection",
    what: str,
    more: Mapping[str, Any],
    form: Form,
    before: Callable[[Session, "Selection", bool], None],
    *,
    dry: bool,
    yes: bool,
) -> ExitCode:
    args = {"selection": chosen.to_json(), **more}
    counted = ask(session, verb, {**args, "dry_run": True})
    count, said = counted["count"], _many(counted["count"], counted["more"])
    if not count:
        selecting.raise_if_unknown(session, channel=chosen.channel, destination=chosen.destination)
        selecting.raise_if_missing(session, chosen.ids)
    if dry or not count:
        show_document(form, {"verb": verb, "dry_run": dry, **counted}, [f"{said} selected"])
        return ExitCode.FAILED if chosen.ids and not count else ExitCode.OK
    over = _many(counted["conflicts"], counted["more"])
    # Only those that were counted: the person has not seen later ones.
    chosen = replace(chosen, last=counted["last"], counted_us=counted["counted_us"])
    before(session, chosen, not yes and on_terminal())
    consent(what.format(n=said, s="" if count == 1 else "s", over=over), yes=yes)
    args["selection"] = chosen.to_json()
    return carried_out(session, verb, args, form)


def carried_out(session: Session, verb: str, args: dict[str, Any], form: Form) -> ExitCode:
    """Begin an operation, follow it to its end, and report the result."""
    try:
        begun = ask(session, verb, {**args, "dry_run": False})
    except KeyboardInterrupt:
        say("it may have begun: labrelay operations list shows it; labrelay operations cancel ends it")
        raise
    result = followed(session, begun)
    show_document(form, {"verb": verb, "dry_run": False, **result}, [_in_words(result)])
    if result["done"].get("conflicts"):
        say("conflicts are tried again only with --overwrite: labrelay dlq show has the server's version")
    if result["done"].get("overtaken"):
        say(
            "results that newer messages have overtaken stay held; labrelay held show NUMBER names these and what helps"
        )
    if result["done"].get("requeued"):
        say(
            f"how they end: labrelay operations show {result['operation']}, dlq list; overtaken by newer messages: "
            "labrelay held list --code OVERTAKEN"
        )
    if result["done"].get("unanswered"):
        say("whose these are is to be answered first: labrelay held answer MESSAGE same, or other")
    left = any(result["done"].get(name) for name in LEFT)
    if result.get("stage") == "cancelled":
        say(f"operation {result['operation']} was cancelled before its end")
        return ExitCode.PARTLY
    if result.get("stage") in ("failed", "damaged"):
        say(f"operation {result['operation']} has failed: a part of it is damaged or lost; the rest is as it was")
        return ExitCode.PARTLY
    return ExitCode.PARTLY if left else ExitCode.OK


def _many(count: int, more: bool) -> str:
    return f"more than {count}" if more else str(count)


def ask(
    session: Session, verb: str, args: dict[str, Any], *, content: bytes = b"", timeout: float = ACT_TIMEOUT_S
) -> dict[str, Any]:
    """Have the daemon do it; without one, do it here."""
    try:
        return session.call_also_at_start(verb, args, timeout=timeout, content=content)
    except UnreachableError:
        return without_daemon(session, verb, args, content)


def without_daemon(session: Session, verb: str, args: dict[str, Any], content: bytes = b"") -> dict[str, Any]:
    """Take the data folder's lock and do the daemon's work here.

    Raises:
        LockedError: a daemon has it that we cannot talk to.
        ConfigError: the channels are needed and cannot be read.
        UnreachableError: there is no journal yet.
        RefusedError: its files are closed to this account.
    """
    import asyncio
    from functools import cache

    from engine.actions.control import Request
    from engine.actions.pause_resume import Switches
    from engine.actions.running_site import RunningSite
    from engine.actions.underway import Acts
    from engine.actions.verbs import all_acts
    from engine.model.site.actor import of_this_process
    from engine.store.journal import Journal

    session.raise_if_closed()
    if not session.journal.exists():
        raise UnreachableError(f"there is no journal in {session.data} yet, and no daemon runs")

    loaded = cache(session.load_corrected)  # once: messages are mapped with the configuration that they name

    async def run() -> dict[str, Any]:
        journal = Journal.open(session.data, clock=SystemClock(), elsewhere=session.elsewhere)
        try:
            with suppress(ConfigError):  # this action may not need the configuration
                journal.upkeep.config_hash = loaded().hash[:12]
            journal.start(asyncio.get_running_loop())
            site = RunningSite(
                acts=Acts(journal, channels=lambda: channels(loaded(), journal.vault.identity_key, journal.others)),
                switches=Switches(journal),
                data=session.data,
                loaded=loaded,
            )
            return await all_acts()[verb].work(
                site, Request(verb=verb, actor=of_this_process(), args=args, content=content, sees_contents=True)
            )
        finally:
            await journal.stop()

    return asyncio.run(run())


def channels(
    site: "Site", identity_key: bytes, others: "Mapping[bytes, int] | None" = None
) -> "dict[str, ChannelRoutes]":
    """The compiled routes of a site's channels; ``others`` as in `MapContext`. Raises ConfigError."""
    from engine.runtime.build import build_site

    built = build_site(site, identity_key=identity_key, clock=SystemClock(), others=others)
    return {name: channel.routes for name, channel in built.channels.items()}


def _in_words(result: Mapping[str, Any]) -> str:
    done = [f"{count} {name.replace('_', ' ')}" for name, count in result["done"].items() if count]
    return f"{result['count']} selected" + (f": {', '.join(done)}" if done else "")


LOOKS_S = (0.05, 0.1, 0.25, 0.5, 1.0)  # between two looks, longer each time
LINE_EVERY_S = 10.0  # where there is no terminal


def followed(session: Session, begun: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to an act once its operation has ended. Ctrl-C ends the watching; the operation goes on."""
    if not begun["going_on"]:
        return dict(begun)
    number = begun["operation"]
    try:
        order = _ended(session, number)
    except (KeyboardInterrupt, UnreachableError) as cause:
        away = "" if isinstance(cause, KeyboardInterrupt) else " once a daemon runs"
        say(
            f"it goes on{away}; how far it is: labrelay operations show {number}; labrelay operations cancel {number} "
            "ends it"
        )
        raise
    return {**begun, "done": dict(order.outcomes), "going_on": False, "stage": order.stage}


def _ended(session: Session, number: int) -> "Operation":
    from engine.store.queries.bulk import operation_if

    bar, last, looks = on_terminal(), time.monotonic(), 0
    with session.reader() as reader:
        while True:
            order = operation_if(reader, number)
            if order is None:
                raise LabRelayError(f"operation {number} is not kept any more; labrelay audit list has its end")
            if order.stage != "running":
                if bar:
                    click.echo("\r\x1b[K", nl=False, err=True)
                return order
            if bar or time.monotonic() - last >= LINE_EVERY_S:
                last = time.monotonic()
                text = f"{order.position}/{order.total}{_waits(session, number)}"
                click.echo(f"\r{text}\x1b[K" if bar else text, nl=not bar, err=True)
            time.sleep(LOOKS_S[min(looks, len(LOOKS_S) - 1)])
            looks += 1


def _waits(session: Session, number: int) -> str:
    """Why an operation waits just now, for the end of a line."""
    try:
        waits = session.call("operation_waits", {"number": number})["waits"]
    except TimeoutError:
        return ""
    return f"; waits: {waits}" if waits else ""


NOTED_WITHIN_S = 10.0


def purpose_option(command: F) -> F:
    """The option ``--purpose``; the command gives it to `stated` before it reads anything."""
    return click.option(
        "--purpose",
        metavar="TEXT",
        help="Why patient data is looked at; kept in the audit trail. Required for that; asked for on a terminal.",
    )(command)


def stated(purpose: str | None) -> str:
    """The purpose; where none was given, a person at a terminal is asked.

    Raises:
        UsageError: there is none.
    """
    text = (purpose or "").strip()
    if not text and on_terminal():
        text = click.prompt("What for? It is kept in the audit trail; write no patient data", err=True).strip()
    if not text:
        raise click.UsageError("--purpose TEXT is missing: why patient data is looked at")
    return text


def note_shown(session: Session, message: int, purpose: str) -> None:
    """Contents without an audit row are not shown."""
    ask(session, "shown", {"message": message, "purpose": purpose}, timeout=NOTED_WITHIN_S)


def note_exported(session: Session, what: dict[str, Any], purpose: str) -> None:
    """As `note_shown`, for all messages that fit; ``purpose``: may be empty for an export without patients."""
    ask(session, "exported", {"what": what, "purpose": purpose}, timeout=NOTED_WITHIN_S)


def note_searched(session: Session, number: str) -> None:
    """A list of the messages of a patient says whether that patient was here: recorded before it is shown."""
    ask(session, "searched", {"number": number}, timeout=NOTED_WITHIN_S)
