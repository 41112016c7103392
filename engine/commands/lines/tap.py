"""Follow the messages of a channel live: received, parsed, mapped, delivered.

Letters are shown as x and digits as 9, unless --unmask is given. Following never delays the daemon: lines that a slow
terminal cannot take are left out, and counted. Ctrl-C ends it.
"""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from engine.actions.control import SOCKET_NAME, follow
from engine.commands.shared.acting import purpose_option, stated
from engine.commands.shared.completing import channel_names
from engine.commands.shared.output import SCHEMA_VERSION, ExitCode, Form, form_option, say, to_json
from engine.commands.shared.selecting import given_duration
from engine.commands.shared.session import Session, pass_session
from engine.monitoring.taps import STAGES
from engine.views.text import plural, printable

GROUP = "when something is wrong"

COLORS = {"raw": "cyan", "parsed": "blue", "mapped": "green", "delivery": "magenta", "lost": "red"}


def _stages(_ctx: click.Context, _param: click.Parameter, text: str) -> list[str]:
    chosen = [word.strip() for word in text.split(",") if word.strip()]
    unknown = sorted(set(chosen) - set(STAGES))
    if unknown or not chosen:
        raise click.BadParameter(f"{', '.join(unknown) or 'none given'}; there are: {', '.join(STAGES)}")
    return chosen


@click.command(help=__doc__)
@click.argument("channel", shell_complete=channel_names)
@click.option(
    "--stage",
    "stages",
    default=",".join(STAGES),
    show_default=True,
    metavar="STAGES",
    callback=_stages,
    help="Some of these, with commas.",
)
@click.option("--unmask", is_flag=True, help="Show contents as they are. This is noted in the audit trail.")
@purpose_option
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many lines.")
@click.option("--for", "for_s", metavar="TIME", callback=given_duration, help="End after this time, as 30s.")
@form_option(Form.TABLE, Form.NDJSON)
@pass_session
def command(
    session: Session,
    channel: str,
    stages: list[str],
    unmask: bool,
    purpose: str | None,
    count: int | None,
    for_s: float | None,
    form: Form,
) -> ExitCode:
    until = None if for_s is None else time.monotonic() + for_s
    args = {"channel": channel, "stages": stages} | ({"purpose": stated(purpose)} if unmask else {})
    shown = 0
    for line in follow(session.data / SOCKET_NAME, "tap_contents" if unmask else "tap", args, until=until):
        if line["stage"] == "open":
            say(f"following {channel}; Ctrl-C ends it" + ("" if unmask else "; contents are masked"))
            continue
        _show(session, form, line)
        shown += line["stage"] != "lost"
        if count is not None and shown >= count:
            break
    return ExitCode.OK


def _show(session: Session, form: Form, line: dict[str, Any]) -> None:
    """One line at once, also into a pipe."""
    if form is Form.NDJSON:
        click.echo(to_json({"schema_version": SCHEMA_VERSION, **line}))
        return
    if line["stage"] == "lost":
        click.echo(click.style(f"... {line['lost']} left out: more than can be shown", fg=COLORS["lost"]))
        return
    at = datetime.fromisoformat(line["at"]).astimezone(session.zone)
    stage = click.style(f"{line['stage']:<8}", fg=COLORS[line["stage"]])
    first, *more = _words(line)
    click.echo(f"{at:%H:%M:%S}.{at.microsecond // 1000:03} {stage} {line['message']:>7}  {first}")
    for text in more:
        click.echo(f"{'':31}{text}")


def _words(line: dict[str, Any]) -> Iterator[str]:
    stage = line["stage"]
    if stage == "raw":
        repeat = f", repeat of {line['repeat_of']}" if line["repeat_of"] else ""
        yield f"{printable(line['type'])} {line['bytes']} bytes{repeat}"
        yield printable(line["text"]) + (f" ... {line['not_shown']} bytes more" if line["not_shown"] else "")
    elif stage == "parsed" and "problem" in line:
        yield f"cannot be read: {line['problem']}" + (f" at {line['place']}" if line.get("place") else "")
    elif stage == "parsed":
        segments = " ".join(f"{name}*{n}" if n > 1 else name for name, n in line["segments"].items())
        warnings = f"; warnings: {', '.join(line['warnings'])}" if line["warnings"] else ""
        yield printable(f"{line['structure']}: {segments}{warnings}")
    elif stage == "mapped":
        to = f" for {', '.join(line['destinations'])}" if line["destinations"] else ""
        made = f"{plural(line['documents'], 'document')}{to}" if line["documents"] else ""
        held = f"held back: {line['held']}" if line["held"] else ""
        issues = f"issues: {', '.join(line['issues'])}" if line["issues"] else ""
        state = " ".join(filter(None, (line["state"], line["code"])))
        yield "; ".join(filter(None, (state, made, held, line["mapping"], issues)))
        yield from (printable(body) for body in line.get("bodies", ()))
    else:
        code = f" {line['code']}" if line["code"] else ""
        yield f"{line['outcome']}{code}: {line['destination']} ({line['seq']}), attempt {line['attempt']}"
