"""List reagent lots that analyzers name in their messages.

When a lot is recalled: `labrelay reagents --lot LOT` says which analyzers used it, for which tests and when, and
`labrelay messages list --lot LOT` lists the messages that were measured with it (`messages export` writes them to a
file). Only what the analyzer sends is known: many send no lots at all.
"""

import click

from engine.commands.shared.output import Form, form_option, show_rows
from engine.commands.shared.selecting import ROW, channel_names
from engine.commands.shared.session import Session, pass_session
from engine.features.reagents.lists import LOT
from engine.store.queries.tallies import list_reagents

GROUP = "every day"
RARE = True


@click.command(help=__doc__)
@click.option("--lot", metavar="TEXT", help="This lot only; compares letters and digits only.")
@click.option("--channel", metavar="NAME", shell_complete=channel_names, help="Of this channel.")
@click.option("--message", type=ROW, metavar="ID", help="Only those that this message names.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True, help="At most so many.")
@form_option()
@pass_session
def command(
    session: Session, lot: str | None, channel: str | None, message: int | None, limit: int, form: Form
) -> None:
    with session.reader() as reader:
        found = list_reagents(reader, channel, lot=lot, message=message, limit=limit + 1)
    next_page = "a higher --limit" if found[limit:] else ""
    empty = "no message names this lot" if lot is not None else "no message names a reagent lot"
    show_rows(form, LOT, found[:limit], empty, next_page=next_page)
