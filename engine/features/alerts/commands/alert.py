"""List open alerts, test where they go, take them, and silence them.

An alert notifies people of an entry of the to-do list, wherever they are: by e-mail, chat, SMS. `alerts:` of the site's
file says what goes to whom (docs/alerts.md). Patient data never leaves with an alert.

KEY is the alert's key in the list, or its beginning; a critical value is taken by its whole key.
"""

from typing import Any

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document, show_rows
from engine.commands.shared.selecting import given_duration, stated_reason
from engine.commands.shared.session import Session, pass_session
from engine.features.alerts.lists import ALERT_TABLE, SENT_TABLE, SILENCE_TABLE, TEST_TABLE

GROUP = "every day"

TIMEOUT_S = 30.0
TEST_S = 330.0  # the longest time that a sink may have, and a little more


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command("list", help="List alerts: those that are sent, and those that will be if their cause lasts.")
@form_option()
@pass_session
def list_alerts(session: Session, form: Form) -> None:
    said = session.call("alerts", timeout=TIMEOUT_S)
    empty = "No alert is open" if said["configured"] else "No alerts are configured: docs/alerts.md"
    show_rows(form, ALERT_TABLE, said["alerts"], empty)
    if said["silences"]:
        say(f"silences in force: {len(said['silences'])}; labrelay alert silences shows them")


@command.command(help="List silences: whose they are, why, and until when.")
@form_option()
@pass_session
def silences(session: Session, form: Form) -> None:
    show_rows(form, SILENCE_TABLE, session.call("alerts", timeout=TIMEOUT_S)["silences"], "No silence is in force")


@command.command(help="List what was sent of alerts: to which sink, and when; the newest first.")
@click.argument("key", default="")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many.")
@form_option()
@pass_session
def sent(session: Session, key: str, limit: int, form: Form) -> None:
    said = session.call("alert_sent", {"key": key, "limit": limit}, timeout=TIMEOUT_S)
    show_rows(form, SENT_TABLE, said["sent"], "Nothing was sent")


@command.command(help="Send a test message to one sink, or to all, and say whether it was taken.")
@click.argument("sink", required=False)
@form_option(Form.TABLE, Form.JSON)
@pass_session
def test(session: Session, sink: str | None, form: Form) -> ExitCode:
    found = session.call_also_at_start("alert_test", {} if sink is None else {"sink": sink}, timeout=TEST_S)["tested"]
    show_rows(form, TEST_TABLE, found, "There is no sink")
    return ExitCode.UNREACHABLE if any(one["detail"] for one in found) else ExitCode.OK


@command.command(help="Take an alert: it is escalated and repeated no more, until it ends or a day is over.")
@click.argument("key")
@click.option("--note", default="", help="A word on it, for the audit trail; write no patient data.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def acknowledge(session: Session, key: str, note: str, form: Form) -> ExitCode:
    result = session.call("alert_acknowledge", {"key": key, "note": note}, timeout=TIMEOUT_S)
    return _done(form, result, f"{result['key']}: taken")


@command.command(help="Send nothing of some alerts for a time: a KEY, or the beginning of keys with * behind it.")
@click.argument("key")
@click.option(
    "--for", "for_s", required=True, metavar="TIME", callback=given_duration, help="For so long, as 4h; at most 30d."
)
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def silence(session: Session, key: str, for_s: float, reason: str, form: Form) -> ExitCode:
    asked = {"pattern": key, "seconds": for_s, "reason": reason}
    result = session.call("alert_silence", asked, timeout=TIMEOUT_S)
    return _done(form, result, f"silence {result['silence']} is in force; labrelay alert unsilence ends it before")


@command.command(help="End a silence, by its number.")
@click.argument("silence", type=click.IntRange(1))
@form_option(Form.TABLE, Form.JSON)
@pass_session
def unsilence(session: Session, silence: int, form: Form) -> ExitCode:
    return _done(form, session.call("alert_unsilence", {"silence": silence}, timeout=TIMEOUT_S), "ended")


def _done(form: Form, result: dict[str, Any], text: str) -> ExitCode:
    show_document(form, result, [text])
    return ExitCode.OK
