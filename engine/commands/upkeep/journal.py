"""The journal's files: statistics, deletion of old rows, and decisions after damage."""

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.long_running import Progress
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.selecting import stated_reason
from engine.commands.shared.session import Session, consent, pass_session
from engine.model.errors import ConfigError, LossError, RefusedError, StoreError, UnreachableError
from engine.model.process.clock import SystemClock, from_us
from engine.model.site.actor import of_this_process
from engine.model.texts.units import size_words
from engine.store.lifecycle import retention
from engine.store.queries.extent import free_bytes, growth_of, kept_of, table_sizes
from engine.store.queries.lanes import list_channels, list_lanes
from engine.store.queries.prunable import survey
from engine.views.view import cell, local, plural

if TYPE_CHECKING:
    from engine.config.sitewide import RetentionConfig
    from engine.store.lifecycle.retention import Policy

GROUP = "upkeep"
RARE = True


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command("accept-loss")
@stated_reason
@click.option("--yes", is_flag=True, help="Do it without being asked.")
@pass_session
def accept_loss(session: Session, reason: str, yes: bool) -> ExitCode:
    """Let LabRelay start although acknowledged rows are missing, or loss cannot be ruled out.

    For when the files are gone for good: after a restored backup, a damaged disk, a lost anchor. Your name, the reason
    and the missing numbers become a row of the audit trail, and the numbers are never given again. Have the analyzers
    send the missing messages again.
    """
    from engine.store.core.anchor import ANCHOR_NAME
    from engine.store.journal import Journal

    if not (session.journal.exists() or (session.data / ANCHOR_NAME).exists()):
        raise StoreError(f"{session.data}: there is no journal yet")
    clock = SystemClock()
    try:
        Journal.open(session.data, clock=clock).close()
    except LossError as loss:
        if hidden := _hidden(session.journal):
            say(
                f"{hidden} pieces of the log are behind a damaged one, and labrelay journal salvage can still read "
                "them: going on without them loses them for good"
            )
        consent(f"{loss}. Go on without them?", yes=yes)
    else:
        say("nothing is missing; nothing was done")
        return ExitCode.OK
    Journal.open(
        session.data, clock=clock, accept_loss=True, actor=of_this_process(), reason=reason, elsewhere=session.elsewhere
    ).close()
    say("accepted, and noted in the audit trail; start LabRelay, and send what is missing again from the analyzers")
    return ExitCode.OK


@command.command()
@click.option("--tables", is_flag=True, help="Count the rows and bytes of every table too; reads the whole file.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def stats(session: Session, tables: bool, form: Form) -> None:
    """How large the journal is, how fast it grows, and how long the disk will last."""
    path = session.journal
    log = path.resolve().with_name(path.resolve().name + "-wal")  # of a link to another disk, beside the file itself
    with session.reader() as reader:
        growth, unused, kept = growth_of(reader, SystemClock().now_us()), free_bytes(reader), kept_of(reader)
        channels, lanes = list_channels(reader), list_lanes(reader)
        listed = table_sizes(reader) if tables else []
    free = shutil.disk_usage(session.data).free
    policy = _retention(session)
    keep_s = policy.delivered if policy is not None else None
    rate, days = growth.bytes_a_day, growth.days_left(free, keep_s)
    largest = growth.largest_bytes(keep_s) if keep_s is not None else None
    document: dict[str, Any] = {
        "file": str(path),
        "file_bytes": growth.file_bytes,
        "unused_bytes": unused,
        "log_bytes": _size(log),
        "rows": growth.rows,
        "oldest": from_us(growth.first_us) if growth.rows else None,
        "newest": from_us(growth.last_us) if growth.rows else None,
        "messages": sum(channel.last_seq for channel in channels),
        "open": sum(lane.open for lane in lanes) + sum(channel.stored for channel in channels),
        "dead": sum(lane.dead for lane in lanes) + sum(channel.dead for channel in channels),
        "held": sum(lane.held for lane in lanes),
        "bytes_a_day": None if rate is None else round(rate),
        "disk_free_bytes": free,
        "disk_days_left": None if days is None else round(days, 1),
        "kept_since": from_us(kept.oldest_us) if kept.oldest_us else None,
        "rows_let_go": kept.gone,
        "largest_bytes": largest,
    }
    if tables:
        document["tables"] = [{"name": name, "rows": rows, "bytes": size} for name, rows, size in listed]
    show_document(form, document, _stats_lines(document))


def _stats_lines(found: dict[str, Any]) -> Iterator[str]:
    log, unused = size_words(found["log_bytes"]), size_words(found["unused_bytes"])
    yield f"{found['file']}: {size_words(found['file_bytes'])}, {unused} of them unused; log {log}"
    span = f", {cell(found['oldest'])} to {cell(found['newest'])}" if found["rows"] else ""
    yield f"{plural(found['rows'], 'row')}, {plural(found['messages'], 'message')}{span}"
    yield f"open {found['open']}, dead {found['dead']}, held back {found['held']}"
    free = size_words(found["disk_free_bytes"])
    if found["bytes_a_day"] is None:
        yield f"disk: {free} free; too little history to say how long that lasts"
    elif found["disk_days_left"] is None:
        rate = size_words(found["bytes_a_day"])
        yield f"disk: {free} free; at {rate} a day that lasts until retention lets as much go as comes"
    else:
        left = f"{found['disk_days_left']:.0f} days" if found["disk_days_left"] < 3650 else "more than ten years"
        yield f"disk: {free} free; at {size_words(found['bytes_a_day'])} a day that is {left}"
    if found["rows_let_go"]:
        since = f"{local(found['kept_since']):%Y-%m-%d}"
        yield f"retention: {found['rows_let_go']} rows deleted so far, messages kept since {since}"
    for table in found.get("tables", ()):
        size = "" if table["bytes"] is None else f"{size_words(table['bytes']):>12}"
        yield f"  {table['name']:<16}{table['rows']:>12} rows{size}"


@command.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go, and what of that age stays and why.")
@click.option("--yes", is_flag=True, help="Do it without being asked.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def prune(session: Session, dry_run: bool, yes: bool, form: Form) -> None:
    """Delete messages that are older than the site's `retention`; the daemon does so by itself, every few hours.

    Nothing goes that is open, held, dead or incomplete. Each deletion is recorded in the journal, so `labrelay verify`
    knows it from a loss. The file does not shrink: its space is used again, and `labrelay journal compact` gives it
    back.
    """
    policy = retention.Policy.of(session.load(require_secrets=False).config.retention)
    with session.reader() as reader:
        found = survey(reader, policy, SystemClock().now_us())
    counts = {name: found.counts[name] for name in ("messages", "frames", "acts", "early", "bytes")}
    document = {"dry_run": dry_run, **counts, "kept": dict(found.kept)}
    lines = list(_prune_lines(counts, found.kept))
    if days := found.behind_us // retention.DAY_US:
        lines.append(f"the clock has jumped ahead since the last time: messages of the last {days} days wait")
    if dry_run or not found.counts:
        show_document(form, document, lines)
        return
    for line in lines:
        say(line)
    consent(f"Let {counts['messages']} messages go?", yes=yes)
    try:
        session.call("prune")
        say("begun, in small steps beside everything else; labrelay audit list says when it has ended")
    except UnreachableError:
        _prune_here(session, policy)
        say("done; see labrelay audit list")
    show_document(form, document, [])


def _prune_lines(counts: dict[str, int], kept: Mapping[str, int]) -> Iterator[str]:
    payloads = size_words(counts["bytes"])
    yield (
        f"{plural(counts['messages'], 'message')} ({payloads} as received), {plural(counts['frames'], 'frame')}, "
        f"{plural(counts['acts'], 'act')}"
    )
    if counts["early"]:
        yield f"{counts['early']} of them, at most, before their time, because the journal is over retention.size"
    yield from (f"  {n} of that age stay: {why}" for why, n in sorted(kept.items()))


def _prune_here(session: Session, policy: "Policy") -> None:
    """The walk, without a daemon."""
    from engine.store.journal import Journal

    journal = Journal.open(session.data, clock=SystemClock(), elsewhere=session.elsewhere)
    try:
        run = journal.run_alone(partial(retention.start, policy=policy))
        while not run.finished:
            after = journal.run_alone(partial(retention.step, policy=policy, run=run))
            if after is run:
                raise RefusedError("an action was cut short and has not been ended: start LabRelay once")
            run = after
    finally:
        journal.close()


def _retention(session: Session) -> "RetentionConfig | None":
    """The site's setting; None where its configuration cannot be read."""
    try:
        return session.load(require_secrets=False).config.retention
    except ConfigError:
        return None


@command.command()
@click.option("--yes", is_flag=True, help="Do it without being asked.")
@pass_session
def compact(session: Session, yes: bool) -> None:
    """Rewrite the file without unused space. Stop LabRelay first; there must be room for a second copy.

    Freed space inside the file is used again, so this is for a file that has become far too large, and before a copy of
    it is taken elsewhere.
    """
    from engine.store.recovery import compact as compacting

    with session.reader() as reader:
        unused = free_bytes(reader)
    consent(f"Write the journal anew, to give back {size_words(unused)}?", yes=yes)
    done = compacting.run(session.data)
    say(f"{size_words(done.before)} before, {size_words(done.after)} now")


def _hidden(journal: Path) -> int:
    """The number of log frames that SQLite cannot read because of a damaged one before them."""
    from engine.store.journal.upkeep import PAGE_BYTES
    from engine.store.recovery.salvage.saving import repair

    path = journal.resolve()
    log = path.with_name(path.name + "-wal")
    if not log.exists():
        return 0
    repaired = repair(log.read_bytes(), _size(path) // PAGE_BYTES)
    return repaired.hidden if repaired is not None else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


@command.command()
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="A new folder for what is saved.")
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def salvage(session: Session, target: Path, reason: str, form: Form) -> ExitCode:
    """Copy every readable row of a damaged journal into a new one, and list the missing rows.

    Stop LabRelay first. The damaged files are only read, and a copy of them is made where that lets more be read: there
    must be room for two. The folder then holds a journal that is whole in itself, its key where that is a file, and
    salvage.json, which says the same as this command. Look at it, then put it in the place of the old data folder.
    """
    from engine.store.core.files.ownership import make_for_owner
    from engine.store.recovery.salvage import saving
    from engine.store.recovery.salvage.found import sentences

    data = session.data
    if not os.path.lexists(target):
        make_for_owner(target)
    with Progress() as progress:
        saved = saving.run(data, target, clock=SystemClock(), actor=of_this_process(), reason=reason, progress=progress)
    show_document(form, asdict(saved), list(sentences(saved, target)))
    return ExitCode.PARTLY if saved.lost or saved.damaged or saved.findings else ExitCode.OK
