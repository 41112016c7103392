"""Controls: points, targets, lots, failed runs, and what you decide about them.

Each control result of an analyzer is a point. A run of points gets a verdict by Westgard's rules. Where it is rejected,
results of that test on that analyzer wait (docs/controls.md).
"""

from pathlib import Path
from typing import Any

import click

from engine.commands.shared.acting import ask
from engine.commands.shared.output import ExitCode, Form, form_option, show_document, show_lines, show_rows
from engine.commands.shared.selecting import ROW, channel_names, instant_us, stated_reason
from engine.commands.shared.session import Session, pass_session
from engine.features.quality_control.lists import FAILURE, JOB, LOOK, LOT, MARK, POINT, TARGET, TEST
from engine.features.quality_control.lists.observations import bundle
from engine.features.quality_control.rows import deciding, reading
from engine.features.quality_control.rules.maintenance import jobs_of
from engine.features.quality_control.rules.westgard import FORMS, RULES, WARNINGS
from engine.model.errors import ConfigError
from engine.model.process.clock import SystemClock

GROUP = "every day"

_channel = click.option("--channel", metavar="NAME", shell_complete=channel_names, help="Of this channel.")
_from = click.option("--from", "begins", metavar="TIME", help="Since then; by default from now on.")
_at = click.option("--at", metavar="TIME", help="When; by default now.")


@click.group(help=__doc__)
def command() -> None:
    pass


@command.command("list", help="List tests with controls: the verdict on the newest run, and whether results wait.")
@_channel
@form_option()
@pass_session
def list_tests(session: Session, channel: str | None, form: Form) -> None:
    with session.reader() as reader:
        found = reading.list_tests(reader, channel)
    show_rows(form, TEST, found, "no control was measured")


@command.command(help="List control results, the newest first; -o csv writes exactly those that are shown.")
@_channel
@click.option("--test", metavar="CODE", help="Of this test.")
@click.option("--level", metavar="NAME", help="Of this level.")
@click.option("--run", type=ROW, metavar="RUN", help="Of this run.")
@click.option(
    "--limit", type=click.IntRange(1, reading.MOST_POINTS), default=100, show_default=True, help="At most so many."
)
@click.option("--fhir", is_flag=True, help="Write FHIR Observations of the analyzer.")
@form_option()
@pass_session
def points(session: Session, /, limit: int, fhir: bool, form: Form, **asked: Any) -> None:
    with session.reader() as reader:
        found = reading.list_points(reader, limit=limit + 1, **asked)
    if fhir:
        show_lines([bundle(found[:limit]).decode()])
        return
    next_page = "a higher --limit" if found[limit:] else ""
    show_rows(form, POINT, found[:limit], "no control was measured", next_page=next_page)


@command.command(help="List each verdict on a run, and what made it.")
@click.argument("run", type=ROW)
@form_option()
@pass_session
def verdicts(session: Session, run: int, form: Form) -> None:
    with session.reader() as reader:
        found = reading.list_marks(reader, run)
    show_rows(form, MARK, found, "there is no such run")


@command.command(help="List targets: proposed, interim, in force.")
@_channel
@click.option("--closed", is_flag=True, help="Also those that are closed.")
@form_option()
@pass_session
def targets(session: Session, channel: str | None, closed: bool, form: Form) -> None:
    with session.reader() as reader:
        found = reading.list_targets(reader, channel, closed=closed)
    show_rows(form, TARGET, found, "there are no targets; labrelay quality load FILE")


@command.command(help="List lots of controls in use.")
@_channel
@form_option()
@pass_session
def lots(session: Session, channel: str | None, form: Form) -> None:
    with session.reader() as reader:
        found = reading.list_lots(reader, channel)
    show_rows(form, LOT, found, "there are no lots; labrelay quality load FILE")


@command.command(help="List maintenance of analyzers: last done, and due.")
@_channel
@form_option()
@pass_session
def maintenance(session: Session, channel: str | None, form: Form) -> None:
    site = session.load(require_secrets=False)
    jobs = [one for one in jobs_of(site.channels) if channel in (None, one.channel)]
    with session.reader() as reader:
        found = reading.list_jobs(reader, jobs, SystemClock().now_us(), session.zone)
    show_rows(form, JOB, found, "no channel has maintenance:")


@command.command(help="Say that maintenance of an analyzer was done.")
@click.argument("channel", shell_complete=channel_names)
@click.argument("job")
@_at
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def done(session: Session, /, form: Form, at: str | None, **asked: Any) -> None:
    _done(form, ask(session, "quality_done", {**asked, "at_us": instant_us(session, at) or 0}), "noted")


@command.command(help="List failed runs that keep a test closed, or have results to look at.")
@click.option("--all", "all_of_them", is_flag=True, help="Also those that are closed and looked at.")
@form_option()
@pass_session
def failures(session: Session, all_of_them: bool, form: Form) -> None:
    with session.reader() as reader:
        found = reading.list_failures(reader, all_of_them=all_of_them)
    show_rows(form, FAILURE, found, "no failed run waits")


@command.command("sent-before", help="List results that went out before a failure was known, for you to look at.")
@click.argument("failure", type=ROW)
@form_option()
@pass_session
def sent_before(session: Session, failure: int, form: Form) -> None:
    with session.reader() as reader:
        found = reading.list_looks(reader, failure)
    show_rows(form, LOOK, found, "nothing was sent before it")


@command.command(help="Take a table of lots or of targets (CSV). A target is proposed by it: quality accept.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def load(session: Session, file: Path, reason: str, form: Form) -> None:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file.name}: it is no text in UTF-8 (byte {error.start + 1})") from error
    done = ask(session, "quality_load", {"text": text, "file": file.name, "reason": reason})
    show_document(form, done, [f"{done['lots']} lots, {done['targets']} targets; {done['known']} were known"])


@command.command(help="Put proposed targets in force.")
@click.argument("targets", nargs=-1, required=True, type=ROW, metavar="TARGET...")
@click.option("--interim", is_flag=True, help="Until there are enough points of the laboratory's own.")
@_from
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def accept(
    session: Session, targets: tuple[int, ...], interim: bool, begins: str | None, reason: str, form: Form
) -> None:
    asked = {
        "targets": list(targets),
        "state": "interim" if interim else "in force",
        "from_us": instant_us(session, begins) or 0,
    }
    _done(form, ask(session, "quality_accept", {**asked, "reason": reason}), "in force")


@command.command(help="End a target: its controls are not evaluated any more.")
@click.argument("target", type=ROW)
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def end(session: Session, target: int, reason: str, form: Form) -> None:
    _done(form, ask(session, "quality_end", {"target": target, "reason": reason}), "ended")


@command.command(help="Set the rules of a test, of an analyzer, or of all.")
@click.argument("rules", nargs=-1, required=True, type=click.Choice(RULES), metavar="RULE...")
@click.option(
    "--warn",
    "warnings",
    multiple=True,
    type=click.Choice(RULES),
    default=sorted(WARNINGS),
    show_default=True,
    help="It only warns.",
)
@click.option("--r4s", type=click.Choice(FORMS), default=FORMS[0], show_default=True, help="The form of R-4s.")
@_channel
@click.option("--test", default="", metavar="CODE", help="Of this test.")
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def rules(
    session: Session, /, rules: tuple[str, ...], warnings: tuple[str, ...], channel: str | None, form: Form, **more: Any
) -> None:
    asked = {"rules": list(rules), "warnings": list(warnings), "channel": channel or "", **more}
    done = ask(session, "quality_rules", asked)
    _done(form, done, f"version {done['version']} of the rules is in force")


@command.command(help="Leave a point out of all counts; the verdict on a failed run stays.")
@click.argument("point", type=ROW)
@click.option("--cause", required=True, type=click.Choice(deciding.CAUSES), help="The error that was found.")
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def exclude(session: Session, point: int, cause: str, reason: str, form: Form) -> None:
    _done(form, ask(session, "quality_exclude", {"point": point, "cause": cause, "reason": reason}), "excluded")


@command.command(help="Take back that a point is left out.")
@click.argument("point", type=ROW)
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def include(session: Session, point: int, reason: str, form: Form) -> None:
    _done(form, ask(session, "quality_include", {"point": point, "reason": reason}), "it counts again")


@command.command(help="Note a calibration, a reagent lot, maintenance or a correction of an analyzer.")
@click.argument("channel", shell_complete=channel_names)
@click.argument("kind", type=click.Choice(deciding.KINDS))
@click.option("--test", default="", metavar="CODE", help="Of this test alone.")
@click.option("--resets", is_flag=True, help="The counts of rules begin anew.")
@_at
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def event(session: Session, /, form: Form, at: str | None, **asked: Any) -> None:
    _done(form, ask(session, "quality_event", {**asked, "at_us": instant_us(session, at) or 0}), "noted")


@command.command(help="Enter a control result that no message brings.")
@click.argument("channel", shell_complete=channel_names)
@click.argument("test")
@click.argument("number")
@click.argument("value")
@click.option("--unit", default="", metavar="TEXT", help="As the target has it.")
@_at
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def enter(session: Session, /, form: Form, at: str | None, **asked: Any) -> None:
    done = ask(session, "quality_enter", {**asked, "at_us": instant_us(session, at) or 0})
    _done(form, done, f"point {done['point']}")


@command.command(help="Close a failed run whose repeat was accepted: results of its test go on.")
@click.argument("failure", type=ROW)
@click.option("--cause", required=True, metavar="TEXT", help="The error that was found.")
@click.option("--action", required=True, metavar="TEXT", help="The mend.")
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def close(session: Session, /, form: Form, **asked: Any) -> None:
    _done(form, ask(session, "quality_close", asked), "closed; labrelay held list has what waits")


@command.command(help="Say that you have looked at results that went out before a failure was known.")
@click.argument("failure", type=ROW)
@click.argument("messages", nargs=-1, required=True, type=ROW, metavar="MESSAGE...")
@stated_reason
@form_option(Form.TABLE, Form.JSON)
@pass_session
def look(session: Session, failure: int, messages: tuple[int, ...], reason: str, form: Form) -> None:
    asked = {"failure": failure, "messages": list(messages), "reason": reason}
    done = ask(session, "quality_look", asked)
    _done(form, done, f"{done['messages']} looked at")


def _done(form: Form, result: dict[str, Any], text: str) -> ExitCode:
    show_document(form, result, [text])
    return ExitCode.OK
