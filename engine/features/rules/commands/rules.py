"""Rules that hold results: what each one has said, and what a change would do.

A rule with `shadow: true` only counts (docs/held.md). Each is counted under its name and the version of its text.
"""

from datetime import UTC, datetime
from pathlib import Path

import click

from engine.commands.shared.output import Form, form_option, say, show_document, show_rows
from engine.commands.shared.selecting import channel_names, instant_us
from engine.commands.shared.session import Session, pass_session
from engine.features.rules.lists import CHANGE, DAY, RULE, UNTOUCHED
from engine.features.rules.rows import reading

GROUP = "every day"

_channel = click.option("--channel", metavar="NAME", shell_complete=channel_names, help="Of this channel.")
_days = click.option(
    "--days", type=click.IntRange(1, 800), default=30, show_default=True, help="Of so many days up to today."
)
_NONE = "no rule was asked in this time"


@click.group(help=__doc__)
def command() -> None:
    pass


def _since(session: Session, days: int) -> str:
    return reading.first_day(days, datetime.now(UTC), session.zone)


@command.command("list", help="List rules by their versions, with what they said.")
@_channel
@_days
@form_option()
@pass_session
def list_rules(session: Session, channel: str | None, days: int, form: Form) -> None:
    with session.reader() as reader:
        found = reading.list_rules(reader, _since(session, days), channel)
    show_rows(form, RULE, found, _NONE)


@command.command("days", help="List what each rule said on each day.")
@_channel
@click.option("--rule", metavar="NAME", help="Of this rule.")
@_days
@form_option()
@pass_session
def list_days(session: Session, channel: str | None, rule: str | None, days: int, form: Form) -> None:
    with session.reader() as reader:
        found = reading.list_days(reader, _since(session, days), channel, rule)
    show_rows(form, DAY, found, _NONE)


@command.command(help="List how many results of each test go out untouched, by month.")
@_channel
@_days
@form_option()
@pass_session
def untouched(session: Session, channel: str | None, days: int, form: Form) -> None:
    with session.reader() as reader:
        found = reading.list_untouched(reader, _since(session, days), channel)
    show_rows(form, UNTOUCHED, found, _NONE)


@command.command("diff")
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("new", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--channel", metavar="NAME", shell_complete=channel_names, help="Else that of the files.")
@click.option("--since", metavar="TIME", default="30d", show_default=True, help="Messages received since then.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def diff(session: Session, old: Path, new: Path, channel: str | None, since: str, form: Form) -> None:
    """Ask two files of rules about stored results, and list what the second would hold otherwise.

    A file is one of channels/, or has `channel:` and `hold:` alone. Rules of all its routes are asked of each message,
    as its stored facts have it, with what was known when it came. No value is shown: `labrelay messages show NUMBER
    --unmask` shows one to a person who may see patients.
    """
    from engine.features.rules.commands._diff import difference, files_of

    site = session.load_corrected()
    name, rules = files_of(site, (old, new), channel)
    with session.reader() as reader:
        found = difference(reader, site, name, rules, instant_us(session, since) or 0)
    told = {
        **{part: getattr(found, part) for part in ("messages", "unread", "now", "no_more")},
        **dict(zip(("held_by_old", "held_by_new"), found.held, strict=True)),
    }
    if form is not Form.TABLE:
        show_document(form, {**told, CHANGE.name: CHANGE.rows(found.changes)}, ())
        return
    show_rows(form, CHANGE, found.changes, "nothing would change")
    say(
        f"{found.messages} messages, {found.unread} more cannot be read; held by OLD: {found.held[0]}, by NEW:"
        f" {found.held[1]}; now: {len(found.now)}, no more: {len(found.no_more)}"
    )
