"""`labrelay dlq edit`: one dead message through a person's editor and back, as a new message.

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
from typing import Any, BinaryIO

import click

from engine.actions.control import MAX_CONTENT_BYTES
from engine.commands.shared.acting import ACT_TIMEOUT_S, channels, note_shown, without_daemon
from engine.commands.shared.output import ExitCode, Form, on_terminal, say, show_document
from engine.commands.shared.session import Session, consent
from engine.features.rework.acts.edit import CR, HEAD, Shape, charsets_of, raise_if_not_editable, read, shown
from engine.model.errors import EditedTextError, LabRelayError, RefusedError, UnreachableError
from engine.store.queries.messages import trace_of
from engine.store.queries.reader import stored_payload, why_absent

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
