"""Watch a line: incoming bytes in hex and text with named control characters, and their meaning in words.

PLACE is a serial device (/dev/serial/by-id/..., usb:0403:6001), a line at a device server (rfc2217://HOST:PORT,
socket://HOST:PORT), or an address HOST:PORT to wait at (with --connect: to connect to). Nothing is sent: an analyzer
that asks to send (ENQ) sends nothing more before it is answered, which --answer does.

Letters and digits of messages are masked: patient data is shown with --unmask only.
"""

import asyncio
import contextlib
import signal
from pathlib import Path

import click

from engine.commands.shared.acting import note_exported, purpose_option, stated
from engine.commands.shared.line_options import LineAt, line_at, line_options
from engine.commands.shared.output import ExitCode, Form, form_option, say
from engine.commands.shared.selecting import file_option, given_duration
from engine.commands.shared.session import Session, pass_session

GROUP = "when something is wrong"


@click.command(help=__doc__)
@click.argument("place")
@line_options
@click.option(
    "--answer",
    is_flag=True,
    help="Answer as a channel would (ACK, NAK, an HL7 acknowledgement). The analyzer then takes what it sent for "
    "delivered and never sends it again: needs --save.",
)
@file_option(
    "--save",
    help="Keep every byte. As it came; with times and answers where the name ends in .ndjson. Holds patient data.",
)
@click.option("--for", "for_s", callback=given_duration, metavar="TIME", help="Stop after this time, as 60s.")
@click.option("--unmask", is_flag=True, help="Show messages too. This is noted in the audit trail.")
@purpose_option
@form_option(Form.TABLE, Form.NDJSON)
@pass_session
def command(
    session: Session,
    /,
    place: str,
    connect: bool,
    answer: bool,
    save: Path | None,
    for_s: float | None,
    unmask: bool,
    purpose: str | None,
    form: Form,
    **settings: str | None,
) -> ExitCode:
    if answer and save is None:
        raise click.UsageError(
            "--answer needs --save FILE: the analyzer takes what is answered for delivered and does not send it again"
        )
    line = line_at(place, connect=connect, **settings)
    if unmask:
        note_watched(session, place, purpose)
    return asyncio.run(_listen(session, line, answer=answer, save=save, for_s=for_s, masked=not unmask, form=form))


async def _listen(
    session: Session, line: LineAt, *, answer: bool, save: Path | None, for_s: float | None, masked: bool, form: Form
) -> ExitCode:
    from engine.commands.shared.listening import Screen, listening

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(ValueError, RuntimeError):  # not in a thread of its own, as in tests
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    screen = Screen(form, masked=masked, zone=session.zone_or_here)
    async with listening(line, screen, save=save, answer=answer) as listener:
        where = f"listening on {line.place.rpartition(':')[0]}:{listener.port}" if line.listens else line.place
        say(f"{where}; Ctrl-C ends it" + ("; messages are masked (letters x, digits 9)" if masked else ""))
        await listener.until(stop, for_s)
    return ExitCode.OK if listener.heard else ExitCode.FAILED


def note_watched(session: Session, place: str, purpose: str | None) -> None:
    """The audit row comes first, as with `messages show --unmask`; where there is no site, there is no trail."""
    from engine.store.core.files.ownership import for_a_while

    with for_a_while():
        if session.folder_or_none is None or not session.journal.exists():
            say("there is no site with a journal here, so nothing is noted: you see patient data all the same")
            return
        note_exported(session, {"line": place}, stated(purpose))
