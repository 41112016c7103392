"""Dead letters: messages and deliveries that failed, and wait for a person.

Select by message number or by filter; `retry` and `dismiss` count and ask first. A dead delivery is tried again in its
old place; a dead message is processed again with today's configuration and mapping.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from engine.commands.shared import selecting
from engine.commands.shared.acting import acting_verb, ask, channels, note_shown, purpose_option, stated
from engine.commands.shared.output import ExitCode, Form, form_option, on_terminal, say, show_document, show_rows
from engine.commands.shared.selecting import destination_names
from engine.commands.shared.session import Session, consent, pass_session
from engine.features.rework.lists.dead_letters import LETTER, LETTER_GROUP
from engine.features.rework.rows.letter_groups import letter_groups
from engine.model.journal.journal_views import DeadLetter, Filter
from engine.store.queries.letters import count_dead_letters, dead_letters
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import why_absent

if TYPE_CHECKING:
    from engine.store.operations.dead_letters import Group
    from engine.store.queries.reader import Reader

F = TypeVar("F", bound=Callable[..., Any])
GROUP = "every day"

READ_AT_ONCE = 500


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command("list", help="List dead letters in groups of one reason and cause, with what will likely help.")
@selecting.filter_options("channel", "destination", "code", "letter-state", "since", "until")
@click.option("--each", is_flag=True, help="Each letter by itself, newest first.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=50,
    show_default=True,
    help="Of each by itself, about so many: those of one message stay together.",
)
@click.option("--all", "everything", is_flag=True, help="Of each by itself, all there are.")
@click.option(
    "--before", type=selecting.ROW, metavar="ID", help="Go on below this message number (from the last page)."
)
@form_option()
@pass_session
def list_letters(
    session: Session, /, each: bool, limit: int, everything: bool, before: int | None, form: Form, **given: Any
) -> None:
    wanted = selecting.filter_of(session, given)
    each = each or before is not None or everything
    with session.reader() as reader:
        groups = letter_groups(reader, wanted) if form is Form.JSON or (form is Form.TABLE and not each) else []
        if form is Form.TABLE and not each:
            if not groups:
                selecting.raise_if_unknown(session, channel=wanted.channel, destination=wanted.destination)
            _show_groups(groups)
            return
        if not dead_letters(reader, wanted, before_id=before, limit=1):
            selecting.raise_if_unknown(session, channel=wanted.channel, destination=wanted.destination)
        page = Page(reader, wanted, before, None if everything else limit)
        if form is Form.JSON:
            found = LETTER.rows(page)
            more = page.more()
            cut = {"more": more, "next": f"--before {page.last}" if more else None}
            show_document(form, {"groups": LETTER_GROUP.rows(groups), "dead_letters": found, **cut}, ())
        else:
            show_rows(form, LETTER, page, "no dead letters")
        if more := page.more():
            say(f"{more} more follow: --before {page.last}, a higher --limit, or --all")


class Page:
    """Dead letters, newest first, read as they are written.

    Attributes:
        last: the message number of the last one returned; 0 before the first.
    """

    def __init__(self, reader: "Reader", wanted: Filter, before: int | None, limit: int | None) -> None:
        """
        Args:
            limit: about so many; None: all.
        """
        self.last = 0
        self._reader, self._wanted, self._before, self._limit = reader, wanted, before, limit

    def __iter__(self) -> Iterator[DeadLetter]:
        before = self._before
        while found := dead_letters(self._reader, self._wanted, before_id=before, limit=self._limit or READ_AT_ONCE):
            before = self.last = found[-1].message_id
            yield from found
            if self._limit is not None:
                return

    def more(self) -> int:
        """The number of dead letters after the last one returned."""
        return count_dead_letters(self._reader, self._wanted, before_id=self.last) if self.last else 0


def _show_groups(groups: "list[Group]") -> None:
    if not show_rows(Form.TABLE, LETTER_GROUP, groups, "no dead letters"):
        return
    click.echo("")
    for reason, fix in dict.fromkeys((group.reason, group.fix) for group in groups):
        click.echo(f"{click.style(reason, bold=True)}: {fix}")
    say("each of them: --each; one in full: labrelay dlq show NUMBER")


@command.command("show", help="Show the dead letters of one message in full: the message, the failure, the remedy.")
@click.argument("message", type=selecting.ROW)
@click.option("--parsed", is_flag=True, help="Every field of the message with its place, too.")
@click.option("--unmask", is_flag=True, help="Show contents and answers as they are. This is noted in the audit trail.")
@purpose_option
@form_option(Form.TABLE, Form.JSON)
@pass_session
def show(session: Session, message: int, parsed: bool, unmask: bool, purpose: str | None, form: Form) -> ExitCode:
    from engine.actions.selection import Selection, letters
    from engine.commands.shared.exporting_deid import known_codes
    from engine.views.letter_in_full import document_of, lines

    parsed = parsed or form is Form.JSON
    why = stated(purpose) if unmask else ""

    with session.reader() as reader:
        found = letters(reader, Selection(ids=(message,)))
        trace = trace_of(reader, message)
        if not found or trace is None:
            show_document(form, {"message": message, "dead_letters": []}, ())
            if trace is None:
                raise why_absent(reader, "message", message)
            say(f"message {message} has no dead letter")
            if trace.edited_as:
                say(f"it was edited by a person, and is message {trace.edited_as} now")
            return ExitCode.FAILED
        if unmask:
            note_shown(session, message, why)
        routes = (
            channels(session.load_corrected(), reader.vault.identity_key).get(trace.message.channel) if parsed else None
        )
        document = document_of(
            reader, trace, found, LETTER, codes=known_codes(session.folder), unmask=unmask, parsed=parsed, routes=routes
        )
    show_document(form, document, lines(document))
    return ExitCode.OK


RETRY_HELP = """Try dead letters again, oldest first: a delivery in its old place, a message processed anew.

A conflict (CONFLICT: the server has another version than the one that we wrote last) is tried again only with
--overwrite and a reason: our version then replaces the server's. Compare both first: labrelay dlq show. To
keep the server's version, dismiss the dead letter.
"""


def _reason_and_overwrite(decorated: F) -> F:
    text = "Replace what the server has, where that is another version (CONFLICT); needs --reason."
    decorated = click.option("--overwrite", is_flag=True, help=text)(decorated)
    return click.option("--reason", metavar="TEXT", help="Why; kept for good. Write no patient data here.")(decorated)


_filters = selecting.filter_options("channel", "destination", "code", "letter-state", "since", "until")
acting_verb(
    command,
    "retry",
    "Retry {n} dead letter{s}?",
    _filters,
    overwriting="Retry {n} dead letter{s}, and replace the server's other version of {over}?",
    help=RETRY_HELP,
    reason_given=_reason_and_overwrite,
)
acting_verb(
    command,
    "dismiss",
    "Dismiss {n} dead letter{s} for good?",
    _filters,
    help="Close dead letters: nothing more will be done about them. Your name and reason stay.",
)


@command.command("set-aside")
@click.argument("message", type=selecting.ROW)
@click.option(
    "--destination",
    metavar="NAME",
    shell_complete=destination_names,
    help="That for this destination, where the message waits for several.",
)
@selecting.reason_option
@selecting.sure_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def set_aside(
    session: Session, message: int, destination: str | None, reason: str, dry_run: bool, yes: bool, form: Form
) -> ExitCode:
    """Set one delivery aside that its destination does not take, so that those behind it go out.

    It must have failed at least once, and wait for its next attempt. It becomes a dead letter (SET_ASIDE): dlq retry
    sends it after all, in its old place, dismiss closes it. Where it is a correction or a withdrawal the destination
    goes on showing what was wrong: the page says so (CORRECTION_SET_ASIDE) until it was sent or dismissed.
    """
    args = {"message": message, "destination": destination or "", "reason": reason}
    looked = ask(session, "set_aside", {**args, "dry_run": True})
    what = "a correction or withdrawal" if looked["code"] == "CORRECTION_SET_ASIDE" else "it"
    place = f"message {message} for {looked['destination']}"
    if dry_run:
        show_document(form, {"verb": "set-aside", "dry_run": True, **looked}, [f"{place} would be {looked['code']}"])
        return ExitCode.OK
    consent(f"Set aside {place} ({what} stays undelivered until a person retries it)?", yes=yes)
    done = ask(session, "set_aside", {**args, "destination": looked["destination"], "dry_run": False})
    show_document(form, {"verb": "set-aside", "dry_run": False, **done}, [f"{place}: {done['code']}"])
    return ExitCode.OK


@command.command("edit")
@click.argument("message", type=selecting.ROW)
@click.option(
    "--reason", metavar="TEXT", help="Why; kept for good, asked for if not given. Write no patient data here."
)
@click.option(
    "--from",
    "source",
    type=click.File("rb"),
    metavar="FILE",
    help="The whole corrected message, instead of an editor; `-` is standard input.",
)
@selecting.sure_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def edit(
    session: Session, message: int, reason: str | None, source: BinaryIO | None, dry_run: bool, yes: bool, form: Form
) -> ExitCode:
    """Correct a dead message in your editor ($VISUAL or $EDITOR), and have it processed again.

    The received bytes stay as they are, and are closed as dismissed. The corrected bytes are a new message of the
    channel, and each of the two names the other; who, why and the SHA-256 of both are in the audit trail. A correction
    that would be a dead letter again, or is no change, is not taken.

    In the editor a line is a segment; its end becomes the message's own. <0D> is a byte in hexadecimal: a character
    that an editor would not show. The text is in a private folder, in memory where there is one, for as long as the
    editor runs; your editor's settings decide about other files (backups, histories).
    """
    from engine.features.rework.commands._editing import edited

    if reason is None and not dry_run:
        if not on_terminal():
            raise click.UsageError("an edit needs a reason: --reason TEXT")
        reason = click.prompt("Why", err=True)
    return edited(session, message, reason or "", source, dry_run=dry_run, yes=yes, form=form)
