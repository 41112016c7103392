"""Send the messages of a file to an address, and show the answer to each.

ADDR is mllp://HOST:PORT (HL7 v2 in blocks, each message acknowledged) or astm://HOST:PORT (records in E1381 frames).
Bare records are framed; frames or blocks in the file are taken off first, so that a capture is sent as a proper sender
would. Behind a commit answer (CA) the application's own is waited for where MSH-16 asks for it, and seen where it comes
unasked. The program that listens there takes the messages for real: another machine is asked about first. The exit
code is 1 if a message was not acknowledged.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.selecting import given_duration, read_by
from engine.commands.shared.session import consent
from engine.model.errors import LabRelayError
from engine.model.texts.units import HostPort, parse_host_port
from engine.views.view import plural

if TYPE_CHECKING:
    from workbench.simulator.astm import Habits
    from workbench.simulator.dialogue import Dialogue

GROUP = "for developers"

SCHEMES = {"mllp": ("mllp", "hl7v2", "HL7 v2"), "astm": ("e1381", "astm", "ASTM")}  # link, format and its name


def _target(text: str) -> tuple[str, HostPort]:
    scheme, mark, rest = text.partition("://")
    if not mark or scheme not in SCHEMES:
        raise ValueError("expected mllp://HOST:PORT or astm://HOST:PORT")
    return scheme, parse_host_port(rest.rstrip("/"))


@click.command(help=__doc__)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", callback=read_by(_target), metavar="ADDR")
@click.option(
    "--frame",
    "pack",
    type=click.Choice(["record", "packed"]),
    default="record",
    show_default=True,
    help="With astm://, begin a frame with each record, or fill each frame.",
)
@click.option(
    "--frame-limit",
    type=click.IntRange(1, 63_993),
    default=240,
    show_default=True,
    help="With astm://, bytes of text in a frame; receivers of the older generation take 240.",
)
@click.option(
    "--answer-within",
    callback=given_duration,
    default="30s",
    show_default=True,
    metavar="TIME",
    help="With mllp://, how long an answer is waited for: behind CA that of the application, too, where MSH-16 asks.",
)
@click.option("--show", is_flag=True, help="Print the dialogue, which holds what the file holds.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@click.option("--yes", is_flag=True, help="Do not ask before sending to another machine.")
@form_option(Form.TABLE, Form.JSON)
def command(
    file: Path,
    target: tuple[str, HostPort],
    pack: Literal["record", "packed"],
    frame_limit: int,
    answer_within: float,
    show: bool,
    dry_run: bool,
    yes: bool,
    form: Form,
) -> ExitCode:
    from engine.mapping.trying.inputs import messages_in
    from workbench.simulator.astm import Habits
    from workbench.simulator.dialogue import Dialogue

    scheme, address = target
    link, wanted, words = SCHEMES[scheme]
    found = messages_in(file.read_bytes())
    if any(message.format != wanted for message in found):
        raise LabRelayError(f"{file.name}: not (only) {words}, which is what {scheme}:// carries")
    messages = [_as_sent(message.payload, link) for message in found]
    where = f"{scheme}://{address}"
    say(f"{plural(len(messages), 'message')} for {where}")
    if dry_run:
        return ExitCode.OK
    if not address.is_loopback:
        consent(f"Send {plural(len(messages), 'message')} of {file.name} to {where}?", yes=yes)
    dialogue = Dialogue(click.echo if show and form is Form.TABLE else None)
    habits = Habits(pack=pack, frame_limit=frame_limit, block_answer_within=answer_within)
    taken = asyncio.run(_send(link, address, messages, file.name, dialogue, habits))
    tally = dialogue.tally
    facts = {
        "messages": len(messages),
        "acknowledged": taken,
        "refused": tally.naks,
        "violations": tally.broken,
        "violation_texts": tally.violations,
    }
    lines = [f"{taken} of {plural(len(messages), 'message')} acknowledged"]
    lines += [f"the receiver broke the protocol: {text}" for text in tally.violations]
    show_document(form, facts, lines)
    return ExitCode.OK if taken == len(messages) and not tally.broken else ExitCode.FAILED


def _as_sent(payload: bytes, link: str) -> bytes:
    """A message with the line ends of the wire: files that people keep have others."""
    if link == "e1381" or b"\r" not in payload:
        return payload.replace(b"\r\n", b"\r").replace(b"\n", b"\r")
    return payload


async def _send(
    link: str, address: HostPort, messages: list[bytes], name: str, dialogue: "Dialogue", habits: "Habits"
) -> int:
    """Send all in order; return how many were acknowledged. After one that is not, the rest stays unsent.

    Raises:
        LabRelayError: the address does not answer, or a message cannot be carried.
    """
    from workbench.simulator.faults import plan_of
    from workbench.simulator.play import player
    from workbench.simulator.wires import ClientWire

    wire = ClientWire(address)
    try:
        await wire.open()
    except (OSError, TimeoutError) as error:
        raise LabRelayError(
            f"{address}: {getattr(error, 'strerror', None) or 'no answer'}; does a program listen there?"
        ) from None
    sender = player(link, wire, dialogue, habits)
    calm = plan_of(frozenset(), seed=0, session=0, transmissions=1)
    taken = 0
    try:
        for number, message in enumerate(messages, 1):
            try:
                if not await sender.send(message, calm):
                    say(f"{name}: message {number} was not acknowledged, so nothing more was sent")
                    break
            except ValueError as error:
                raise LabRelayError(f"{name}: message {number}: {error}; E1381 cannot carry that") from None
            except OSError as error:
                raise LabRelayError(
                    f"{address}: {error}; {taken} of {plural(len(messages), 'message')} acknowledged"
                ) from None
            taken += 1
    finally:
        await wire.close()
    return taken
