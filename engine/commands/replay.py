"""Send stored documents of messages again, to all or one of the destinations they went to.

The deliveries keep their keys, so that a destination can tell a repeat; they stand at the end of their lanes and go
out at a bounded rate, behind what is new. A result that a newer one has replaced is not sent. Nothing is mapped again.
"""

from typing import Any

import click

from engine.commands.output import ExitCode, Form, form_option
from engine.commands.selecting import act_options, carry_out, filter_options, selection
from engine.commands.session import Session, pass_session

DEFAULT_RATE = 50.0


@click.command(help=__doc__)
@click.argument("ids", nargs=-1, type=int, metavar="[MESSAGE]...")
@filter_options("channel", "since", "until")
@click.option("--to", "destination", metavar="NAME", help="Only to this destination.")
@click.option(
    "--rate",
    type=click.FloatRange(0.01, 100_000),
    default=DEFAULT_RATE,
    show_default=True,
    help="Messages per second, at most.",
)
@act_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(
    session: Session,
    /,
    ids: tuple[int, ...],
    destination: str | None,
    rate: float,
    everything: bool,
    dry_run: bool,
    yes: bool,
    form: Form,
    **given: Any,
) -> ExitCode:
    chosen = selection(session, ids, everything=everything, **given)
    to = f" to {destination}" if destination else ""
    return carry_out(
        session,
        "replay",
        chosen,
        what=f"Send {{n}} messages again{to}?",
        form=form,
        dry_run=dry_run,
        yes=yes,
        destination=destination,
        rate=rate,
    )
