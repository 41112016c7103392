"""See everything work on this machine: LabRelay, a FHIR server to receive results, and simulated analyzers.

The analyzers play the samples over real TCP, with other patients and values each time. Ctrl-C stops everything.
"""

import asyncio

import click

from engine.commands.output import ExitCode
from engine.commands.session import Session, pass_session


@click.command(help=__doc__)
@click.option("--messages", type=click.IntRange(min=1), help="Send so many messages, as fast as they are acknowledged.")
@click.option("--exit", "leave", is_flag=True, help="End when all of them are on the server; exit code 1 if not all.")
@pass_session
def command(session: Session, messages: int | None, leave: bool) -> None:
    from engine.demo.show import Demo
    from engine.errors import LabRelayError
    from engine.site import shipped

    if leave and messages is None:
        raise click.UsageError("--exit needs --messages: after how many?")
    samples = shipped("samples")
    if samples is None:
        raise LabRelayError("the samples are not installed; run the demo from the repository")

    def say(text: str) -> None:
        click.echo(text, err=True, nl=not text.startswith("\r"))

    async def play() -> int:
        return await Demo(session.load(), samples=samples, messages=messages, leave=leave, say=say).run()

    raise click.exceptions.Exit(ExitCode.OK if asyncio.run(play()) == 0 else ExitCode.FAILED)
