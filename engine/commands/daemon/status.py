"""Show the present state of the site: channels, destinations, waiting work and problems.

The running daemon answers; without one, the journal's content is shown.

Exit code 0: the daemon answered, however the site is (-o json has that as overall.level: ok, attention or problem), or
--offline read the journal. 4: no daemon runs. 1: there is no journal yet, or it cannot be read. 3: there is no site.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.session import Session, pass_session
from engine.model.errors import UnreachableError
from engine.views.site import CHANNEL, DESTINATION, PAUSE, STORED_CHANNEL, STORED_LANE, tee_words, waits_for
from engine.views.view import Head, View, table

GROUP = "every day"

COLORS = {"ok": "green", "attention": "yellow", "problem": "red"}


@click.command(help=__doc__)
@click.option("--offline", is_flag=True, help="Do not ask the daemon; read the journal.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(session: Session, offline: bool, form: Form) -> ExitCode:
    down: UnreachableError | None = None
    if not offline:
        try:
            said = session.call("status")
            show_document(form, {"daemon": True, **said}, _lines(said))
            return ExitCode.OK
        except UnreachableError as error:
            down = error
    if down is not None:
        say(f"labrelay: {down}")
    from engine.store.queries.lanes import list_channels, list_lanes, list_pauses

    with session.reader() as reader:
        found = list_channels(reader), list_lanes(reader), list_pauses(reader)
    lists: list[tuple[View[Any], Sequence[Any]]] = list(zip((STORED_CHANNEL, STORED_LANE, PAUSE), found, strict=True))
    document = {"daemon": False, **{view.name: view.rows(rows) for view, rows in lists}}
    show_document(form, document, _offline_lines(lists))
    return ExitCode.UNREACHABLE if down is not None else ExitCode.OK


def _lines(said: dict[str, Any]) -> Iterator[str]:
    overall = said["overall"]
    yield click.style(overall["words"], fg=COLORS.get(overall["level"]), bold=True)
    for finding in said["findings"][1:]:
        yield click.style(f"  {finding['words']}", fg=COLORS.get(finding["level"]))
    yield f"{said['site_name']}, LabRelay {said['version']}, configuration {said['config_hash']}"
    if said.get("unmapped_total"):
        yield "Which codes: labrelay gaps"
    if said.get("dead_total") or said.get("incomplete_total"):
        yield "Which messages: labrelay dlq list"
    if said["backup"]["missing"]:
        yield "A backup: write backup: {folder: /mnt/backup} into config/labrelay.yaml, then labrelay reload"
    if not said["notifies"]:
        yield "No person is notified, for no alerts are configured: labrelay help alerts"
    if not said["channels"]:
        yield "No channel yet: labrelay init --analyzer NAME writes one, labrelay detect one for an unknown analyzer"
    if said["channels"]:
        yield ""
        columns = CHANNEL.columns if said.get("incomplete_total") else CHANNEL.columns[:-1]
        yield from table(said["channels"], columns)
        yield from (tee_words(channel) for channel in said["channels"] if channel["tee"] is not None)
    if said["destinations"]:
        yield ""
        yield from table(said["destinations"], DESTINATION.columns)
        yield from (waits_for(one) for one in said["destinations"] if one["retrying"] is not None)


def _offline_lines(lists: Sequence[tuple[View[Any], Sequence[Any]]]) -> Iterator[str]:
    yield Head("The daemon does not run; this is what the journal holds.")
    for view, found in lists:
        if found and view is not STORED_CHANNEL:
            yield ""
        if found:
            yield from table(found, view.columns)
    if not lists[0][1]:
        yield "no message was ever received"
