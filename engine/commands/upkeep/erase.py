"""Erase what is stored of a patient, where the law demands it: payloads, documents and notes; the numbering stays.

It works beside a running LabRelay, which takes messages meanwhile; then the file is not written anew, and older copies
of what was erased may be in its unused parts until `labrelay journal compact` (with LabRelay stopped). Data sent
elsewhere are not touched, and backups hold the data until they are pruned.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.acting import ACT_TIMEOUT_S
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.selecting import ROW
from engine.commands.shared.session import Session, consent, pass_session
from engine.feature import Hook
from engine.model.errors import LockedError, RefusedError, StoreError
from engine.model.orders import item_id
from engine.model.process.clock import SystemClock, from_us
from engine.model.site.actor import of_this_process
from engine.model.texts.units import duration_text, size_words
from engine.store.operations import append
from engine.views.erased import SHOWN, Kept, numbered
from engine.views.view import local, picked, plural

if TYPE_CHECKING:
    from engine.config.load import Site
    from engine.store.journal import Journal
    from engine.store.lifecycle.erasure import Message, PatientData
    from engine.store.queries.reader import Reader

GROUP = "upkeep"

ERASED_AT_ONCE = 200  # messages that the daemon is asked to erase at a time
SEARCH_S = 4 * 3600.0  # for messages that have to be opened one by one


@click.command(help=__doc__)
@click.option(
    "--patient",
    "numbers",
    multiple=True,
    metavar="NUMBER",
    help="The patient's number, as messages have it; may be given again. `-` asks for it, so that it is in no list "
    "of processes.",
)
@click.option("--message", "also", type=ROW, multiple=True, metavar="ID", help="Also this message; may be given again.")
@click.option("--reason", metavar="TEXT", help="Why; kept for good. Write no patient data here.")
@click.option("--authority", metavar="TEXT", help="Who demands it: a file number, a decision. Kept for good.")
@click.option(
    "--force", is_flag=True, help="Also what retention keeps, what is not delivered, and what names other patients too."
)
@click.option("--no-compact", is_flag=True, help="Do not write the file anew afterwards.")
@click.option("--dry-run", is_flag=True, help="Only say what is meant.")
@click.option("--yes", is_flag=True, help="Do it without being asked.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(
    session: Session,
    numbers: tuple[str, ...],
    also: tuple[int, ...],
    reason: str | None,
    authority: str | None,
    force: bool,
    no_compact: bool,
    dry_run: bool,
    yes: bool,
    form: Form,
) -> ExitCode:
    numbers = tuple(click.prompt("patient number", hide_input=True, err=True) if n == "-" else n for n in numbers)
    if not any(number.strip() for number in numbers):
        raise click.UsageError("whose? Give --patient NUMBER")
    reason = (reason or "").strip()
    if not reason and not dry_run:
        raise click.BadParameter("say why", param_hint="--reason")
    if not session.journal.exists():
        raise StoreError(f"{session.data}: there is no journal yet")
    wanted = ErasureRequest(
        session.load(require_secrets=False), numbers, also, reason, authority, force, dry_run, yes, form
    )
    try:
        return _alone(session, wanted, compacts=not no_compact)
    except LockedError:  # a daemon has it
        return _beside_daemon(session, wanted)


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """A person's request."""

    site: "Site"
    numbers: tuple[str, ...]
    also: tuple[int, ...]
    reason: str
    authority: str | None
    force: bool
    dry_run: bool
    yes: bool
    form: Form


Found = Callable[["Reader", Sequence[int], Sequence[str]], Kept]
KEPT: Hook[Found] = Hook("erased")  # by these messages, and these numbers of the patient


@dataclass(frozen=True, slots=True)
class Plan:
    """The messages found, and whether they may be erased.

    Attributes:
        kept: what features have of the patient.
        more: further contents of the audit row.
    """

    found: "PatientData"
    chosen: "list[Message]"
    kept: Sequence[Kept]
    obstacles: list[str]
    document: dict[str, Any]
    more: dict[str, Any]

    @property
    def ids(self) -> list[int]:
        return [one.id for one in self.chosen]

    @property
    def is_empty(self) -> bool:
        return not self.chosen and not self.found.orders and not any(one.goes for one in self.kept)


def _plan(reader: "Reader", wanted: ErasureRequest) -> Plan:
    from engine.store.lifecycle import erasure

    reader.deadline_s = SEARCH_S
    found = erasure.find(reader.snapshot, reader.vault, wanted.numbers, wanted.also)
    chosen = [one for one in found.messages if not one.gone]
    kept = [ask(reader, [one.id for one in found.messages], wanted.numbers) for ask in KEPT.each()]
    named = {name: value for one in kept for name, value in one.document.items()}
    obstacles = _obstacles(chosen, found.orders, wanted.site.config.retention.least, SystemClock().now_us())
    document = {
        "count": len(chosen),
        "dry_run": wanted.dry_run,
        "messages": [
            {**picked(one, "id channel state open others"), "received": from_us(one.received_us)} for one in chosen
        ],
        "orders": [*map(item_id, sorted(found.orders))],
        "erased_before": [one.id for one in found.messages if one.gone],
        **picked(found, "unsure unreadable edited"),
        **named,
        "obstacles": obstacles,
    }
    more: dict[str, Any] = {"authority": wanted.authority} if wanted.authority else {}
    more |= {name: value for name, value in named.items() if value}
    if obstacles:
        more["forced"] = obstacles
    return Plan(found, chosen, kept, obstacles, document, more)


def _agreed(plan: Plan, wanted: ErasureRequest) -> bool:
    """Show what there is, and ask; False where there is nothing to do.

    Raises:
        RefusedError: it must not be erased, or the person does not want it.
    """
    if wanted.dry_run or plan.is_empty:
        show_document(wanted.form, plan.document, _found_lines(plan))
        return False
    for line in _found_lines(plan):
        say(line)
    if plan.obstacles and not wanted.force:
        raise RefusedError("nothing was erased; --force does it all the same, and the reason is kept")
    orders = f" and {plural(len(plan.found.orders), 'order')}" if plan.found.orders else ""
    kept = "".join(f" and {one.goes}" for one in plan.kept if one.goes)
    consent(f"Erase {plural(len(plan.chosen), 'message')}{orders}{kept} for good?", yes=wanted.yes)
    return True


def _alone(session: Session, wanted: ErasureRequest, *, compacts: bool) -> ExitCode:
    """Erase with the journal in our own hands.

    Raises:
        LockedError: a daemon has it.
    """
    from engine.store.journal import Journal
    from engine.store.lifecycle import erasure
    from engine.store.operations.outbox import claims
    from engine.store.queries.extent import is_compact_due

    journal = Journal.open(session.data, clock=SystemClock(), elsewhere=session.elsewhere)
    try:
        journal.run_alone(claims.void_leases)  # nothing is being delivered: the daemon is stopped
        _assemble(journal, wanted.site)
        plan = _plan(journal, wanted)
        due = is_compact_due(journal)
        if not _agreed(plan, wanted):
            if not wanted.dry_run and compacts and due:  # the last time was cut short, or there was no room
                journal.close()
                _compact(session)
            return ExitCode.FAILED if plan.is_empty else ExitCode.OK
        journal.upkeep.config_hash = wanted.site.hash[:12]
        done = journal.run_alone(
            partial(
                erasure.erase,
                messages=plan.ids,
                numbers=wanted.numbers,
                actor=of_this_process(),
                reason=wanted.reason,
                more=plan.more,
            )
        )
    finally:
        journal.close()
    compacted = _compact(session) if compacts else None
    return _told(session, wanted, plan, asdict(done), compacted)


def _beside_daemon(session: Session, wanted: ErasureRequest) -> ExitCode:
    """Look for the messages here, beside the daemon, and have it erase them."""
    with session.reader() as reader:
        plan = _plan(reader, wanted)
    if not _agreed(plan, wanted):
        return ExitCode.FAILED if plan.is_empty else ExitCode.OK
    done = dict.fromkeys(("messages", "frames", "documents", "closed", "values", "lines"), 0)
    act = 0
    for at in range(0, max(len(plan.ids), 1), ERASED_AT_ONCE):  # once also where there are orders alone
        args = {
            "messages": plan.ids[at : at + ERASED_AT_ONCE],
            "numbers": list(wanted.numbers),
            "reason": wanted.reason,
            "more": plan.more,
        }
        part = session.call("erase", args, timeout=ACT_TIMEOUT_S)
        act = part["act"]
        for name in done:
            done[name] += part[name]
    say("older copies of it may be in unused parts of the file: stop LabRelay, then labrelay journal compact")
    return _told(session, wanted, plan, {"act": act, **done}, None)


def _told(
    session: Session, wanted: ErasureRequest, plan: Plan, done: Mapping[str, int], compacted: bool | None
) -> ExitCode:
    from engine.store.integrity import before_upgrade

    if (folder := session.data / before_upgrade.FOLDER).is_dir():
        kept = before_upgrade.KEPT_DAYS
        say(f"{folder}: this copy has these data, too, for up to {kept} days; remove it if you do not mean to go back")
    document = plan.document | {
        "elsewhere": _folders(wanted.site, {one.channel for one in plan.chosen}),
        "logs": _logs(wanted.site, max((one.settled_us for one in plan.chosen), default=0)),
        **{name: done[name] for name in ("act", "frames", "documents", "closed")},
        "earlier_values": done["values"],
        "line_traces": done["lines"],
        "compacted": compacted,
    }
    show_document(wanted.form, document, _done_lines(document))
    return ExitCode.OK if compacted is not False else ExitCode.PARTLY


def _folders(site: "Site", channels: set[str]) -> list[str]:
    """Folders on this machine that have files of what was erased: nothing in them is LabRelay's to delete."""
    sources = [site.channels[name].source for name in sorted(channels & site.channels.keys())]
    ends = (*sources, *site.config.destinations.values())
    return list(dict.fromkeys(str(folder) for end in ends for folder in end.folders))


def _logs(site: "Site", settled_us: int) -> list[dict[str, Any]]:
    """Destinations that can forget no single document, and until when they have the newest of these."""
    return [
        {"place": config.place, "until": from_us(settled_us + round(keeps_s * 1e6))}
        for config in site.config.destinations.values()
        if settled_us and (keeps_s := config.keeps_s)
    ]


def _assemble(journal: "Journal", site: "Site") -> None:
    """Assemble messages from frames that a crash cut short, as at a start: frames without a message would not be found.

    Raises:
        ConfigError: the site's channels cannot be built, so their frames cannot be read.
    """
    if not journal.tail.sessions:
        return
    from engine.runtime.build import build_site, reassemble

    built = build_site(site, identity_key=journal.vault.identity_key, clock=SystemClock()).channels
    made = journal.run_alone(
        append.assemble,
        lambda channel, frames, at_us: reassemble(built.get(channel), channel, frames, at_us),
        repeat_window_s=min((one.settings.repeat_window_s for one in built.values()), default=86_400.0),
        before=journal.first_session,
    )
    were = "was" if len(made) == 1 else "were"
    say(f"{plural(len(made), 'message')} {were} put together of what the last stop cut short")


def _obstacles(chosen: "list[Message]", orders: Mapping[int, bool], least_s: float, now_us: int) -> list[str]:
    """Reasons why these must not simply be erased."""
    found = []
    young = [one for one in chosen if one.settled_us > now_us - least_s * 1e6]
    if young:
        last = local(from_us(max(one.settled_us for one in young)))
        least = f"{duration_text(least_s)} (retention: minimum)"
        found.append(f"{len(young)} must be kept for {least}, the newest is of {last:%Y-%m-%d}")
    if waiting := [one.id for one in chosen if one.open]:
        found.append(f"{len(waiting)} are not done with, and would never be delivered: {numbered(waiting)}")
    if open_ones := [number for number, is_open in orders.items() if is_open]:
        found.append(f"{plural(len(open_ones), 'order')} would never be measured: {_orders(open_ones)}")
    if shared := [one.id for one in chosen if one.others]:
        found.append(f"{len(shared)} name other patients, too, whose results would go with them: {numbered(shared)}")
    return found


def _compact(session: Session) -> bool:
    """Leave nothing of older pages; False where there is no room for it."""
    from engine.store.recovery import compact

    try:
        done = compact.run(session.data)
    except StoreError as error:
        say(f"the file was not written anew, and older copies of what was erased may be in it: {error}")
        return False
    say(f"the file was written anew: {size_words(done.before)} before, {size_words(done.after)} now")
    return True


def _found_lines(plan: Plan) -> Iterator[str]:
    chosen, found = plan.chosen, plan.found
    gone = [one.id for one in found.messages if one.gone]
    if chosen:
        first, last = (
            local(from_us(at_us)) for at_us in (chosen[0].received_us, max(one.received_us for one in chosen))
        )
        numbers = numbered([one.id for one in chosen])
        yield f"{plural(len(chosen), 'message')} of {first:%Y-%m-%d} to {last:%Y-%m-%d}: {numbers}"
    else:
        yield "no message with this number that is not erased" if gone else "no message with this number"
    if found.orders:
        yield f"{plural(len(found.orders), 'order')} of the patient: {_orders(found.orders)}"
    for one in plan.kept:
        yield from one.lines
    if gone:
        yield f"{len(gone)} were erased before: {numbered(gone)}"
    if found.unsure:
        yield (
            f"in {len(found.unsure)} more the number is in a place without patient numbers; check them, and add "
            f"--message ID where they are the patient's: {numbered(found.unsure)}"
        )
    if found.edited:
        yield (
            f"{len(found.edited)} more are other versions of these, from before or after they were edited; look at "
            f"them, and add --message ID where they are the patient's: {numbered(found.edited)}"
        )
    if found.unreadable:
        yield f"{len(found.unreadable)} cannot be opened: {numbered(found.unreadable)}; labrelay verify --deep"
    yield from plan.obstacles


def _done_lines(done: dict[str, Any]) -> Iterator[str]:
    yield (
        f"erased: {plural(done['count'], 'message')}, {plural(done['frames'], 'frame')}, "
        f"{plural(done['documents'], 'document')}, {plural(len(done['orders']), 'order')}, "
        f"{done['earlier_values']} earlier values, {done['line_traces']} traces of lines (act {done['act']})"
    )
    if done["closed"]:
        yield f"{done['closed']} that were open are dismissed"
    yield "backups hold these data until they are pruned, and so does what was delivered; erase it there, too"
    for folder in done["elsewhere"]:
        yield f"{folder}: look for files of the patient, as they were received or delivered, and remove them"
    for log in done["logs"]:
        last = f"{local(log['until']):%Y-%m-%d}"
        yield f"{log['place']}: one record cannot be erased there; the newest is kept until {last}"


def _orders(numbers: Iterable[int]) -> str:
    """As `numbered`, for numbers of orders."""
    ids = [*map(item_id, sorted(numbers))]
    return ", ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")
