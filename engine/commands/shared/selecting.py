"""Options that select messages.

Instants are given as an age (``2h``), a day (``2026-03-01``) or a day and time (``2026-03-01T10:30``); days and times
without an offset are in the site's zone.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from engine.commands.shared.completing import channel_names, destination_names, some_of
from engine.commands.shared.output import say
from engine.commands.shared.session import Session
from engine.model.errors import ConfigError, LabRelayError
from engine.model.journal.journal_views import Filter
from engine.model.journal.records import LETTER_STATES, MessageState
from engine.model.process import clock
from engine.model.texts.reasons import ReasonCode
from engine.model.texts.units import parse_duration
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import why_absent

if TYPE_CHECKING:
    from engine.actions.selection import Selection

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
LARGEST = 2**63 - 2  # number of a row that the journal can have, with one more after it


class _RowNumber(click.types.IntParamType):
    """The type of an argument that is the number of a message. A longer one may be a specimen's, typed here."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number: int = super().convert(value, param, ctx)
        if not 0 <= number <= LARGEST:
            self.fail("no message has it; for a specimen's number: labrelay messages list --specimen", param, ctx)
        return number


ROW = _RowNumber()


def word(words: Sequence[str], all_of_them: str = "") -> Callable[[str], str]:
    """The type of an option that is one of some words, in upper or lower case.

    A wrong one is answered with the nearest, and with ``all_of_them``: a sentence; empty: the words themselves.
    """
    known = {one.lower(): one for one in words}
    all_of_them = all_of_them or f"There are: {', '.join(words)}"

    def convert(given: str) -> str:
        if given.lower() not in known:
            from engine.model.texts.spelling import did_you_mean

            near = did_you_mean(given, words)
            raise click.BadParameter(f"{given!r} is not known{f'; {near}' if near else '.'} {all_of_them}")
        return known[given.lower()]

    return convert


def filter_options(*names: str) -> Callable[[F], F]:
    """Some of the options ``channel destination code state letter-state test-code loinc since until type lot``."""
    known = {
        "channel": click.option("--channel", metavar="NAME", shell_complete=channel_names, help="Of this channel."),
        "destination": click.option(
            "--destination", metavar="NAME", shell_complete=destination_names, help="For this destination."
        ),
        "code": click.option(
            "--code",
            type=word([code.value for code in ReasonCode], "labrelay help reasons lists them"),
            shell_complete=some_of(code.value for code in ReasonCode),
            metavar="CODE",
            help="With this reason code (labrelay help reasons).",
        ),
        "state": _state_option((*get_args(MessageState), "waiting", "delivered", "held")),
        "test-code": click.option(
            "--test-code", metavar="CODE", help="With a result under this code of a test. Opens each document."
        ),
        "loinc": click.option("--loinc", metavar="CODE", help="With a result under this LOINC. Opens each document."),
        "letter-state": _state_option(LETTER_STATES),
        "since": click.option("--since", metavar="TIME", help="Received since: an age (2h), a day, or a day and time."),
        "until": click.option("--until", metavar="TIME", help="Received before that."),
        "type": click.option("--type", "message_type", metavar="TYPE", help="Of this type, as ORU^R01."),
        "lot": click.option(
            "--lot", metavar="TEXT", help="That name this reagent lot; compares letters and digits only."
        ),
    }

    def decorate(command: F) -> F:
        for name in reversed(names):
            command = known[name](command)
        return command

    return decorate


def filter_of(session: Session, given: Mapping[str, Any], **more: str | None) -> Filter:
    """The filter for the options of `filter_options`, and ``more``."""
    names = ("channel", "destination", "state", "code", "test_code", "loinc", "message_type", "lot")
    return Filter(**{name: given.get(name) for name in names} | more, **_times(session, given))


def _times(session: Session, given: Mapping[str, Any]) -> dict[str, Any]:
    return {"after_us": instant_us(session, given.get("since")), "before_us": instant_us(session, given.get("until"))}


def page_options(numbers: str, *, default: int = 50, most: int = 10_000) -> Callable[[F], F]:
    """``--limit --before``, for lists that are read in pages. ``numbers``: the kind of number for ``--before``."""

    def decorate(command: F) -> F:
        limit = click.option(
            "--limit", type=click.IntRange(1, most), default=default, show_default=True, help="At most so many."
        )
        before = click.option(
            "--before", type=ROW, metavar="ID", help=f"Go on below this {numbers} (from the last page)."
        )
        return limit(before(command))

    return decorate


def _stated(_ctx: click.Context, _param: click.Parameter, text: str) -> str:
    if not text.strip():
        raise click.BadParameter("say why")
    return text.strip()


def _reason(**more: Any) -> Callable[[F], F]:
    return click.option(
        "--reason", required=True, metavar="TEXT", help="Why; kept for good. Write no patient data here.", **more
    )


reason_option = _reason()
stated_reason = _reason(callback=_stated)  # refused as wrong use where it is empty


def _state_option(states: Sequence[str]) -> Callable[[F], F]:
    words = ", ".join(states)
    return click.option("--state", type=word(states), metavar="STATE", help=f"In this state: {words}.")


def asked_for(_ctx: click.Context, param: click.Parameter, text: str | None) -> str | None:
    """A number as given; ``-``: asked for, so that no list of processes and no shell's history has it."""
    return click.prompt(str(param.name), hide_input=True, err=True) if text == "-" else text


def act_options(command: F) -> F:
    """``--all --dry-run --yes``, for verbs that send or close."""
    return click.option("--all", "everything", is_flag=True, help="Everything there is.")(sure_options(command))


def sure_options(command: F) -> F:
    """``--dry-run --yes``, for verbs that require numbers and never take everything."""
    for option in (
        click.option("--yes", is_flag=True, help="Do it without being asked."),
        click.option("--dry-run", is_flag=True, help="Only say what would be done."),
    ):
        command = option(command)
    return command


def read_by(parse: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, str | None], T | None]:
    """A callback for an option whose text ``parse`` reads; its ValueError is the explanation."""

    def read(ctx: click.Context, param: click.Parameter, text: str | None) -> T | None:
        try:
            return None if text is None else parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from error

    return read


given_duration = read_by(parse_duration)  # seconds of an option such as ``90s`` or ``10m``


def file_option(*names: str, help: str, **more: Any) -> Callable[[F], F]:
    """An option that names a file to write."""
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option(*names, type=path, metavar="FILE", help=help, **more)


def instant_us(session: Session, text: str | None, *, now: datetime | None = None) -> int | None:
    """Microseconds since 1970 of ``--since`` or ``--until``.

    Raises:
        click.BadParameter: neither an age nor a time.
    """
    if text is None:
        return None
    zone = session.zone
    try:
        return clock.instant_us(text, zone, now or datetime.now(zone))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def raise_if_unknown(session: Session, *, channel: str | None = None, destination: str | None = None) -> None:
    """Raises LabRelayError where a name is unknown to this site, so that a typing error does not look like an empty
    list. Called after an empty result, or before a list that has more than what bears the name.
    """
    if (channel is None and destination is None) or session.is_closed:
        return
    from engine.model.texts.spelling import did_you_mean

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
            hint = did_you_mean(name, names) or f"There are: {', '.join(names) or 'none'}"
            raise LabRelayError(f"there is no {kind} {name}; {hint}")


def selection(session: Session, ids: tuple[int, ...] = (), *, everything: bool = False, **given: Any) -> "Selection":
    """The selection of the options. None given is wrong use: it never means everything.

    Raises:
        click.UsageError: nothing was selected.
    """
    from engine.actions.selection import Selection  # lists start without it, and so without the store

    names = ("channel", "destination", "code", "state", "specimen", "number")
    said = {name: given.get(name) for name in names}
    chosen = Selection(ids=ids, all=everything, **said, **_times(session, given))
    if chosen.is_empty:
        raise click.UsageError("which? Give message numbers, a filter, or --all")
    return chosen


def raise_if_missing(session: Session, ids: tuple[int, ...]) -> None:
    """Report the given numbers without a message; not those that only fail the filter."""
    if session.is_closed:
        return
    with session.reader() as reader:
        absent = [why_absent(reader, "message", number) for number in ids if trace_of(reader, number) is None]
    for error in absent[1:]:
        say(str(error))
    if absent:
        raise absent[0]
