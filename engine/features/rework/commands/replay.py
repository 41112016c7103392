"""Send stored documents of messages again, to the destinations they went to or to another one.

Select by number, time, channel, destination, specimen, control id, state. The deliveries keep their keys, so that a
destination recognises a repeat; documents that are held, rejected, dismissed, superseded or dead letters are left out.
Newer messages of the same reports go along, in order, so that no result ends as an older version. Where the newer ones
are at least as many as the selected ones, a reason is required (--reason). Nothing is mapped again.

A replay lets new messages pass: its next message is sent only while nothing new waits for the same destination; under
constant load, one is sent every half a second. It is an operation: it goes on in the daemon if the terminal is lost,
and after a crash or a restart; each message is queued once. `labrelay operations cancel` ends it.
"""

from dataclasses import replace
from math import isnan
from typing import Any

import click

from engine.actions.selection import REPLAY_STATES
from engine.actions.underway import DEFAULT_RATE
from engine.commands.shared import selecting
from engine.commands.shared.acting import ask, carried_out
from engine.commands.shared.output import ExitCode, Form, form_option, show_document
from engine.commands.shared.selecting import destination_names
from engine.commands.shared.session import Session, consent, pass_session
from engine.views.view import plural

GROUP = "when something is wrong"


@click.command(help=__doc__)
@click.argument("ids", nargs=-1, type=selecting.ROW, metavar="[MESSAGE]...")
@selecting.filter_options("channel", "since", "until")
@click.option(
    "--destination",
    metavar="NAME",
    shell_complete=destination_names,
    help="Only documents that went to this destination.",
)
@click.option(
    "--specimen",
    metavar="NUMBER",
    callback=selecting.asked_for,
    help="With this number of a specimen or order; `-` asks for it.",
)
@click.option("--control-id", metavar="TEXT", help="With this control id (MSH-10, H-3).")
@click.option(
    "--state",
    type=selecting.word(REPLAY_STATES),
    metavar="STATE",
    help=f"With a delivery in this state: {', '.join(REPLAY_STATES)}. Without it, the first.",
)
@click.option(
    "--to",
    metavar="NAME",
    shell_complete=destination_names,
    help="Send them to this destination, also where they have not been yet.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.01, 100_000),
    default=DEFAULT_RATE,
    show_default=True,
    help="Messages per second, at most.",
)
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the audit trail.")
@click.option("--all", "everything", is_flag=True, help="Everything there is.")
@selecting.sure_options
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(
    session: Session,
    /,
    ids: tuple[int, ...],
    to: str | None,
    rate: float,
    reason: str,
    everything: bool,
    dry_run: bool,
    yes: bool,
    form: Form,
    specimen: str | None,
    control_id: str | None,
    **given: Any,
) -> ExitCode:
    if isnan(rate):
        raise click.BadParameter("nan is no rate", param_hint="'--rate'")
    chosen = selecting.selection(session, ids, everything=everything, specimen=specimen, number=control_id, **given)
    args = {"selection": chosen.to_json(), "reason": reason, "to": to, "rate": rate}
    counted = ask(session, "replay", {**args, "dry_run": True})
    count, newer, new = counted["count"], counted["newer"], counted.get("new", 0)
    along = f" and {newer} newer of the same reports" if newer else ""
    if not count:
        selecting.raise_if_unknown(session, channel=chosen.channel, destination=chosen.destination)
        selecting.raise_if_missing(session, chosen.ids)
    if dry_run or not count:
        lines = [f"{count} selected{along}" + (f", {new} of them never sent to {to} before" if new else "")]
        show_document(form, {"verb": "replay", "dry_run": dry_run, **counted}, lines)
        return ExitCode.FAILED if chosen.ids and not count else ExitCode.OK
    never = f" ({new} of them were never sent there)" if new else ""
    if counted["needs_reason"] and not reason.strip():
        raise click.UsageError(
            f"{newer} newer messages of the same reports go along with the {count} selected; say why with --reason TEXT"
        )
    consent(f"Send {plural(count, 'message')}{along} again{f' to {to}' if to else ''}{never}?", yes=yes)
    # Only those that were counted: the person has not seen later ones.
    args["selection"] = replace(chosen, last=counted["last"], counted_us=counted["counted_us"]).to_json()
    return carried_out(session, "replay", args, form)
