"""Dead letters: messages and deliveries that failed, and wait for a person.

Select by message number or by filter; `retry` and `dismiss` count and ask first. A dead delivery is tried again in its
old place; a dead message is processed again with today's configuration and mapping.

`labrelay dlq edit`: one dead message through a person's editor and back, as a new message.

The text is in a folder that only its owner may open, in memory if the system has such a place, and only while the
editor runs: it is removed after Ctrl-C, a hang-up or a request to end. The next edit removes what `kill -9` left
behind.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click

from engine.actions.control import MAX_CONTENT_BYTES
from engine.commands.shared import selecting
from engine.commands.shared.acting import (
    ACT_TIMEOUT_S,
    acting_verb,
    ask,
    channels,
    note_shown,
    purpose_option,
    stated,
    without_daemon,
)
from engine.commands.shared.completing import destination_names
from engine.commands.shared.output import ExitCode, Form, form_option, on_terminal, say, show_document, show_rows
from engine.commands.shared.session import Session, consent, pass_session
from engine.features.rework.acts.edit import CR, HEAD, Shape, charsets_of, raise_if_not_editable, read, shown
from engine.features.rework.lists.dead_letters import LETTER, LETTER_GROUP
from engine.features.rework.rows.letter_groups import letter_groups
from engine.model.errors import EditedTextError, LabRelayError, RefusedError, UnreachableError
from engine.model.journal.journal_views import DeadLetter, Filter
from engine.store.queries.letters import count_dead_letters, dead_letters
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import stored_payload, why_absent

if TYPE_CHECKING:
    from engine.store.operations.dead_letters import Group
    from engine.store.queries.reader import Reader

FOLDER = "labrelay-edit-"  # + number of the process + "-" ...
FILE = "message.txt"
EDITORS = ("sensible-editor", "editor", "nano", "vi")
# Where files are in memory, most private first.
IN_MEMORY = (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm")  # noqa: S108 - the folder made there is private


def edited(
    session: Session, message: int, reason: str, source: BinaryIO | None, *, dry_run: bool, yes: bool, form: Form
) -> ExitCode:
    """Have the message corrected, ask, and store it; report the result."""
    with session.reader() as reader:
        trace = trace_of(reader, message)
        if trace is None:
            raise why_absent(reader, "message", message)
        raise_if_not_editable(trace)
        payload = stored_payload(reader, message)
        routes = channels(session.load_corrected(), reader.vault.identity_key) if source is None else {}
        charsets = charsets_of(routes.get(trace.message.channel), payload)
    code = trace.message.reason or next((d.cause for d in trace.deliveries if d.state == "dead"), "")
    ask = _asking(session, message, reason)
    if source is not None:
        content = _from_file(source, payload)
        told = _unless_unchanged(content, payload, ask)
    else:
        note_shown(session, message, reason)
        head = f"message {message} of {trace.message.channel}, dead for {code}"
        content, told = _in_editor(head, payload, charsets, ask)
    if not told:
        say(f"nothing was changed; message {message} is as it was")
        return ExitCode.FAILED
    if dry_run:
        show_document(form, {"verb": "edit", "dry_run": True, **told}, [_would(told)])
        return ExitCode.OK
    consent(f"{_would(told)}. Take it as a new message of {trace.message.channel} and close {message}?", yes=yes)
    result = ask(content, told["config_hash"])
    show_document(form, {"verb": "edit", "dry_run": False, **result}, [f"message {message} is {result['message']} now"])
    if result["awaited"]:
        say(
            f"an attempt to {', '.join(result['awaited'])} was under way with what was wrong, and has ended first; "
            f"how: labrelay messages show {message}"
        )
    if not result["running"]:
        say("no daemon runs: it is processed once one starts")
    else:
        say(f"its outcome: labrelay messages show {result['message']}")
    return ExitCode.OK


# -- asking ----------------------------------------------------------------------------------------------------------

Ask = Callable[[bytes, str | None], dict[str, Any]]  # (content, hash of the configuration, None: a dry run) -> answer


def _asking(session: Session, message: int, reason: str) -> Ask:
    def ask(content: bytes, seen_with: str | None) -> dict[str, Any]:
        args = {"message": message, "reason": reason, "dry_run": seen_with is None}
        args |= {"config_hash": seen_with} if seen_with else {}
        try:
            return {**session.call("edit", args, timeout=ACT_TIMEOUT_S, content=content), "running": True}
        except UnreachableError:
            return {**without_daemon(session, "edit", args, content), "running": False}

    return ask


def _would(told: dict[str, Any]) -> str:
    if told["verdict"] == "filtered":
        return f"it would be filtered ({told['code']}) and sent nowhere"
    return f"it would be mapped, and sent to {', '.join(told['to']) or 'no destination'}"


def _unless_unchanged(content: bytes, payload: bytes, ask: Ask) -> dict[str, Any]:
    """The outcome that it would have; empty where it is unchanged."""
    return ask(content, None) if content != payload else {}


# -- from a file -----------------------------------------------------------------------------------------------------


def _from_file(source: BinaryIO, payload: bytes) -> bytes:
    """The bytes of a file; where they have no CR at all, and the message's lines end in it, so do these."""
    content = source.read(MAX_CONTENT_BYTES + 1)
    if b"\r" not in content and b"\n" in content and shown(payload)[1].line_end == CR:
        say("the file's lines end in LF, the message's in CR: written as CR")
        return content.replace(b"\n", b"\r")
    return content


# -- in an editor ----------------------------------------------------------------------------------------------------


def _in_editor(head: str, payload: bytes, charsets: tuple[str, ...], ask: Ask) -> tuple[bytes, dict[str, Any]]:
    """The edited bytes, and the outcome that they would have. If they are refused, the person may continue editing."""
    command = _editor()
    text, shape = shown(payload, charsets)
    while True:
        text = _run_editor(command, f"{HEAD}{head}\n{HEAD}a line is a segment, <0D> a byte; unchanged: no edit\n", text)
        try:
            content = _read(text, shape)
            return content, _unless_unchanged(content, payload, ask)
        except (RefusedError, UnreachableError):
            raise
        except LabRelayError as error:
            if not on_terminal():
                raise
            say(f"labrelay: {error}")
            if not click.confirm("Edit it again?", default=True, err=True):
                raise RefusedError("nothing was done") from None


def _read(text: str, shape: Shape) -> bytes:
    try:
        return read(text, shape)
    except EditedTextError as error:
        raise LabRelayError(str(error)) from None


def _editor() -> list[str]:
    """The words of the editor's command.

    Raises:
        UsageError: there is none, or no person to use one.
    """
    named = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if named:
        return shlex.split(named)
    found = next((path for name in EDITORS if (path := shutil.which(name))), None)
    if found is None or not on_terminal():
        raise click.UsageError("no editor: set VISUAL or EDITOR, or give the corrected message with --from FILE")
    return [found]


def _run_editor(command: list[str], head: str, text: str) -> str:
    """The text as the editor left it.

    Raises:
        LabRelayError: it ended with an error, so the text may be unfinished; or it is not UTF-8.
    """
    from engine.store.core.files.ownership import as_given

    with as_given(), _ending_in_order(), _private_folder() as folder:
        path = folder / FILE
        path.touch(mode=0o600)
        path.write_text(head + text, encoding="utf-8", newline="")
        try:
            # TMPDIR: other files that it writes are removed with the folder, too.
            running = subprocess.Popen([*command, str(path)], env={**os.environ, "TMPDIR": str(folder)})  # noqa: S603 - the person's own
        except OSError as error:
            raise LabRelayError(f"the editor {command[0]} cannot be started: {error.strerror}") from error
        try:
            code = running.wait()
        except BaseException:
            running.terminate()
            running.wait()
            raise
        if code in (-signal.SIGINT, 128 + signal.SIGINT):
            raise KeyboardInterrupt
        if code:
            raise RefusedError(f"the editor ended with {code}; nothing was done")
        try:
            return path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            raise LabRelayError("the edited text is not UTF-8; save it as UTF-8") from None
        except OSError as error:
            raise LabRelayError(f"the edited text cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    place = next((place for place in IN_MEMORY if place and os.access(place, os.W_OK | os.X_OK)), tempfile.gettempdir())
    _remove_left_over(Path(place))
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-", dir=place))  # for its owner only
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left_over(place: Path) -> None:
    """Remove folders of our own whose process is gone."""
    for folder in place.glob(f"{FOLDER}*"):
        number = folder.name.removeprefix(FOLDER).partition("-")[0]
        with contextlib.suppress(OSError):
            ours = folder.lstat().st_uid == os.geteuid() and number.isdigit()
            if ours and not Path(f"/proc/{number}").exists():
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """Meanwhile the editor handles Ctrl-C, and a request to end is obeyed after the folder has been removed."""

    def end(number: int, _: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    def leave(number: int, _: FrameType | None) -> None:
        """An own function and not SIG_IGN, which the editor would inherit."""

    try:
        before = {
            signal.SIGINT: signal.signal(signal.SIGINT, leave),
            signal.SIGTERM: signal.signal(signal.SIGTERM, end),
            signal.SIGHUP: signal.signal(signal.SIGHUP, end),
        }
    except ValueError:  # not the main thread, which alone gets signals
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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

    if reason is None and not dry_run:
        if not on_terminal():
            raise click.UsageError("an edit needs a reason: --reason TEXT")
        reason = click.prompt("Why", err=True)
    return edited(session, message, reason or "", source, dry_run=dry_run, yes=yes, form=form)
