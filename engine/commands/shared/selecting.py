"""Options that say which messages are meant, and how a verb carries an act out: by the daemon, else itself.

Instants are given as an age (``2h``), a day (``2026-03-01``) or a day and time (``2026-03-01T10:30``); days and times
without an offset are in the site's zone.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from engine.commands.shared.completing import channel_names, destination_names, some_of
from engine.commands.shared.output import ExitCode, Form, say, show_document
from engine.commands.shared.session import Session, consent
from engine.model.reasons import ReasonCode
from engine.model.records import LETTER_STATES, MessageState
from engine.store.queries.contents import why_absent
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.messages import trace_of

if TYPE_CHECKING:
    from engine.actions.selection import Selection
    from engine.actions.underway import Acts
    from engine.processing.process import ChannelRoutes
    from engine.store.journal import Journal

F = TypeVar("F", bound=Callable[..., Any])
ACT_TIMEOUT_S = 70.0
LARGEST = 2**63 - 2  # number of a row that the journal can have, with one more after it


class _RowNumber(click.types.IntParamType):
    """The type of an argument that is the number of a message. A longer one may be a specimen's, typed here."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number: int = super().convert(value, param, ctx)
        if not 0 <= number <= LARGEST:
            self.fail("no message has it; for a specimen's number: labrelay messages list --specimen", param, ctx)
        return number


ROW = _RowNumber()


def word(words: Sequence[str], all_of_them: str) -> Callable[[str], str]:
    """The type of an option that is one of some words, in upper or lower case.

    A wrong one is answered with the nearest, and with ``all_of_them``: where they are listed.
    """
    known = {one.lower(): one for one in words}

    def convert(given: str) -> str:
        if given.lower() not in known:
            from engine.model.spelling import did_you_mean

            near = did_you_mean(given, words)
            hint = f"; {near}" if near else "."
            raise click.BadParameter(f"{given!r} is not known{hint} There are: {all_of_them}")
        return known[given.lower()]

    return convert


def filter_options(*names: str) -> Callable[[F], F]:
    """Some of the options ``channel destination code state letter-state test-code loinc since until``."""
    known = {
        "channel": click.option("--channel", metavar="NAME", shell_complete=channel_names, help="Of this channel."),
        "destination": click.option(
            "--destination", metavar="NAME", shell_complete=destination_names, help="For this destination."
        ),
        "code": click.option(
            "--code",
            type=word([code.value for code in ReasonCode], "docs/reason-codes.md"),
            shell_complete=some_of(code.value for code in ReasonCode),
            metavar="CODE",
            help="With this reason code (docs/reason-codes.md).",
        ),
        "state": _state_option((*get_args(MessageState), "waiting", "delivered", "held")),
        "test-code": click.option(
            "--test-code", metavar="CODE", help="With a result under this code of a test. Opens each document."
        ),
        "loinc": click.option("--loinc", metavar="CODE", help="With a result under this LOINC. Opens each document."),
        "letter-state": _state_option(LETTER_STATES),
        "since": click.option("--since", metavar="TIME", help="Received since: an age (2h), a day, or a day and time."),
        "until": click.option("--until", metavar="TIME", help="Received before that."),
    }

    def decorate(command: F) -> F:
        for name in reversed(names):
            command = known[name](command)
        return command

    return decorate


def _state_option(states: Sequence[str]) -> Callable[[F], F]:
    words = ", ".join(states)
    return click.option("--state", type=word(states, words), metavar="STATE", help=f"In this state: {words}.")


def asked_for(_ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    """A number as it was given; ``-``: asked for, so that no list of processes and no shell's history has it."""
    return click.prompt(str(param.name), hide_input=True, err=True) if text == "-" else text


def act_options(command: F) -> F:
    """``--all --dry-run --yes``, for what sends or closes."""
    return click.option("--all", "everything", is_flag=True, help="Everything there is.")(sure_options(command))


def sure_options(command: F) -> F:
    """``--dry-run --yes``, for what wants numbers and never takes everything."""
    for option in (
        click.option("--yes", is_flag=True, help="Do it without being asked."),
        click.option("--dry-run", is_flag=True, help="Only say how many are meant."),
    ):
        command = option(command)
    return command


def instant_us(session: Session, text: str | None, *, now: datetime | None = None) -> int | None:
    """Microseconds since 1970 of ``--since`` or ``--until``.

    Raises:
        click.BadParameter: neither an age nor a time.
    """
    if text is None:
        return None
    from engine.model.units import parse_duration

    zone = session.zone
    now = now or datetime.now(zone)
    try:
        return _us(now - timedelta(seconds=parse_duration(text)))
    except (ValueError, OverflowError):
        pass
    try:
        return _us(_in_zone(datetime.fromisoformat(text), zone))
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"'{text}' is neither an age (2h, 3d) nor a time (2026-03-01, 2026-03-01T10:30)"
        ) from error


def raise_if_unknown(session: Session, *, channel: str | None = None, destination: str | None = None) -> None:
    """Nothing was found: raises LabRelayError where that is because a name is none of this site, so that a slip of the
    finger does not look like an empty list."""
    if channel is None and destination is None:
        return
    from engine.model.errors import ConfigError, LabRelayError
    from engine.model.spelling import did_you_mean

    with session.reader() as reader:
        known = {
            "channel": {one.name for one in list_channels(reader)},
            "destination": {one.destination for one in list_lanes(reader)},
        }
    for kind, name in (("channel", channel), ("destination", destination)):
        if name is None or name in known[kind]:
            continue
        try:
            site = session.load(require_secrets=False)
        except ConfigError:
            return
        names = sorted(known[kind] | set(site.channels if kind == "channel" else site.config.destinations))
        if name not in names:
            hint = did_you_mean(name, names) or f"there are: {', '.join(names) or 'none'}"
            raise LabRelayError(f"there is no {kind} {name}; {hint}")


def selection(session: Session, ids: tuple[int, ...] = (), *, everything: bool = False, **given: Any) -> "Selection":
    """What the options mean. Nothing given is wrong use: it never means everything.

    Raises:
        click.UsageError: nothing was selected.
    """
    from engine.actions.selection import Selection  # lists start without it, and so without the store

    chosen = Selection(
        ids=ids,
        channel=given.get("channel"),
        destination=given.get("destination"),
        code=given.get("code"),
        state=given.get("state"),
        after_us=instant_us(session, given.get("since")),
        before_us=instant_us(session, given.get("until")),
        specimen=given.get("specimen"),
        number=given.get("number"),
        all=everything,
    )
    if chosen.is_empty:
        raise click.UsageError("which? Give message numbers, a filter, or --all")
    return chosen


def carry_out(
    session: Session,
    verb: str,
    chosen: "Selection",
    *,
    what: str,
    form: Form,
    dry_run: bool,
    yes: bool,
    **more: Any,
) -> ExitCode:
    """Count, ask, act, and say what became of it.

    Args:
        what: the act in words for the question, ``Retry {n} dead letter{s}?``.
        more: further arguments of the verb.
    """
    counted = _ask(session, verb, chosen, dry_run=True, **more)
    count, counted_us = counted["count"], counted.pop("counted_us", None)
    if not count:
        raise_if_unknown(session, channel=chosen.channel, destination=chosen.destination)
        raise_if_missing(session, chosen.ids)
    if dry_run or not count:
        show_document(form, {"verb": verb, "dry_run": dry_run, **counted}, [f"{count} selected"])
        return ExitCode.FAILED if chosen.ids and not count else ExitCode.OK
    consent(what.format(n=count, s="" if count == 1 else "s"), yes=yes)
    # Those that were counted, and no more: what came while the person thought it over has been seen by nobody.
    result = _ask(session, verb, replace(chosen, counted_us=counted_us), dry_run=False, **more)
    show_document(form, {"verb": verb, "dry_run": False, **result}, [_in_words(result)])
    if result["done"].get("conflicts"):
        say("conflicts are tried again with --reason only: labrelay dlq show tells what the server has")
    if result["done"].get("overtaken"):
        say("what newer messages have overtaken stays held; labrelay held show NUMBER names them and says what helps")
    if result["done"].get("requeued"):
        say("how they end: labrelay dlq list; overtaken by newer messages: labrelay held list --code OVERTAKEN")
    if result["done"].get("unanswered"):
        say("whose these are is to be answered first: labrelay held answer MESSAGE same, or other")
    left = sum(
        result["done"].get(name, 0)
        for name in ("skipped", "still_dead", "overtaken", "too_old", "conflicts", "unanswered")
    )
    return ExitCode.PARTLY if left else ExitCode.OK


def raise_if_missing(session: Session, ids: tuple[int, ...]) -> None:
    """Say which of the numbers that a person has given have no message; nothing about those that only do not fit."""
    with session.reader() as reader:
        absent = [why_absent(reader, "message", number) for number in ids if trace_of(reader, number) is None]
    for error in absent[1:]:
        say(str(error))
    if absent:
        raise absent[0]


def _ask(session: Session, verb: str, chosen: "Selection", *, dry_run: bool, **more: Any) -> dict[str, Any]:
    args = {"selection": chosen.to_json(), "dry_run": dry_run, **more}
    return ask(session, verb, args, lambda acts, actor: _do(acts, verb, chosen, actor, dry_run, more))


def _do(
    acts: "Acts", verb: str, chosen: "Selection", actor: str, dry_run: bool, more: Mapping[str, Any]
) -> Awaitable[dict[str, Any]]:
    from engine.actions.hold_decisions import dismiss_letters, reject_held, release_held
    from engine.actions.retry import retry_letters

    acting = {"retry": retry_letters, "dismiss": dismiss_letters, "release": release_held, "reject": reject_held}
    return acting[verb](acts, chosen, actor=actor, reason=more.get("reason") or "", dry_run=dry_run)


def ask(
    session: Session,
    verb: str,
    args: dict[str, Any],
    here: "Callable[[Acts, str], Awaitable[dict[str, Any]]]",
    *,
    timeout: float = ACT_TIMEOUT_S,
) -> dict[str, Any]:
    """Have the daemon do it; do it ``here`` where none runs."""
    from engine.actions.control import UnreachableError

    try:
        return session.call(verb, args, timeout=timeout)
    except UnreachableError:
        return without_daemon(session, here)


def without_daemon(session: Session, work: "Callable[[Acts, str], Awaitable[dict[str, Any]]]") -> dict[str, Any]:
    """Take the data folder's lock and do it here.

    Raises:
        LockedError: a daemon has it that we cannot talk to.
        ConfigError: the channels are needed and cannot be read.
    """

    from engine.actions.underway import Acts

    def act(journal: "Journal", actor: str) -> Awaitable[dict[str, Any]]:
        return work(
            Acts(journal, channels=lambda: channels(session, journal.vault.identity_key, journal.others)), actor
        )

    return with_journal(session, act)


def with_journal(session: Session, work: "Callable[[Journal, str], Awaitable[dict[str, Any]]]") -> dict[str, Any]:
    """As `without_daemon`, with the open journal and the name of the user."""
    import asyncio

    from engine.actions.control import UnreachableError
    from engine.model.actor import of_this_process
    from engine.model.clock import SystemClock
    from engine.model.errors import ConfigError
    from engine.store.core.connecting import JOURNAL_NAME
    from engine.store.journal import Journal

    if not (session.data / JOURNAL_NAME).exists():
        raise UnreachableError(f"there is no journal in {session.data} yet, and no daemon runs")

    async def run() -> dict[str, Any]:
        clock = SystemClock()
        journal = Journal.open(session.data, clock=clock, elsewhere=session.elsewhere)
        try:
            with suppress(ConfigError):  # what is done may not need the configuration
                journal.under(session.load(require_secrets=False).hash[:12])
            journal.start(asyncio.get_running_loop())
            return await work(journal, of_this_process())
        finally:
            await journal.stop()

    return asyncio.run(run())


def channels(
    session: Session, identity_key: bytes, others: "Mapping[bytes, int] | None" = None
) -> "dict[str, ChannelRoutes]":
    """The compiled routes of the site's channels; ``others`` as in `MapContext`. Raises ConfigError."""
    from engine.model.clock import SystemClock
    from engine.runtime.build import build_site

    built = build_site(
        session.load(require_secrets=False), identity_key=identity_key, clock=SystemClock(), others=others
    )
    return {name: channel.routes for name, channel in built.channels.items()}


def _in_words(result: Mapping[str, Any]) -> str:
    done = [f"{count} {name.replace('_', ' ')}" for name, count in result["done"].items() if count]
    text = f"{result['count']} selected" + (f": {', '.join(done)}" if done else "")
    if result["going_on"]:
        say("it takes longer and goes on in the daemon; `labrelay status` shows the queues")
    return text


def _in_zone(instant: datetime, zone: tzinfo) -> datetime:
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=zone)


def _us(instant: datetime) -> int:
    return int(instant.timestamp() * 1_000_000)
