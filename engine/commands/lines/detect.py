"""Detect the protocol of an analyzer, from a capture or from its line, and write a channel file to start from.

WHAT is a file (`-` is standard input; as `listen --save` wrote it, or any recording), a serial device, or an address to
wait at (with --connect: to connect to). Each part of the result has a certainty and a reason; open parts are listed as
open. Of rows of cells (CSV) --write makes a layout, too, by the words above the columns; --column says what else one
has. Where a comma may part decimals or thousands, --write needs --decimal.
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.commands.init import SCHEMA_LINE, SCHEMAS, create, write_schemas
from engine.commands.shared.line_options import LineAt, line_at, line_options
from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.selecting import file_option, given_duration
from engine.commands.shared.session import Session, pass_session
from engine.views.view import printable

if TYPE_CHECKING:
    from engine.diagnostics.lines.guess import Guess
    from engine.mapping.trying.capture import CapturedBytes

GROUP = "start"

MAX_BYTES = 16 * 1024 * 1024  # of a capture; more adds nothing new


@click.command(help=__doc__)
@click.argument("what")
@line_options
@click.option(
    "--for",
    "for_s",
    callback=given_duration,
    default="60s",
    show_default=True,
    metavar="TIME",
    help="How long to listen to a line at most; it ends when all is known.",
)
@click.option("--answer", is_flag=True, help="Answer while listening, as `listen --answer` does; needs --save.")
@file_option("--save", help="Keep what comes while listening. Holds patient data.")
@click.option(
    "--column", "columns", multiple=True, metavar="ROLE=NAME", help="A column of rows: specimen, test, value, unit ..."
)
@click.option(
    "--decimal", type=click.Choice([".", ","]), help="The decimal sign of its numbers, where that is unclear."
)
@file_option("--write", "path", help="Write a channel file, as channels/chemistry.yaml; its name is the channel's.")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def command(
    session: Session,
    /,
    what: str,
    connect: bool,
    for_s: float,
    answer: bool,
    save: Path | None,
    columns: tuple[str, ...],
    decimal: str | None,
    path: Path | None,
    form: Form,
    **settings: str | None,
) -> ExitCode:
    from engine.diagnostics.lines.guess import guess
    from engine.diagnostics.packs import packs

    known = packs(session.folder_or_none)
    place: tuple[str, str] | None = None
    if what == "-" or Path(what).is_file():  # which a device never is
        _no_line_options(connect, answer, save, settings)
        made = guess(_captured(what), known)
    else:
        if answer and save is None:
            raise click.UsageError("--answer needs --save FILE: answered data is never sent again")
        line = _line_at(what, connect, settings)
        place = ("device" if line.is_serial else "connect" if connect else "listen", what)
        made = guess(asyncio.run(_heard(line, known, for_s, answer, save)), known, live=True)
    if decimal is not None and made.rows is None:
        made.decide(decimal)
    show_document(form, _document(made), _lines(made))
    if path is not None:
        given = {key: value for key, value in settings.items() if value is not None}
        _write(session, made, path, place, given, columns, decimal)
    return ExitCode.OK if made.is_enough else ExitCode.FAILED


def _line_at(what: str, connect: bool, settings: dict[str, str | None]) -> LineAt:
    """The line of an argument; a text that is no line may have been meant as a capture."""
    try:
        return line_at(what, connect=connect, **settings)
    except click.BadParameter as error:
        if error.param_hint != "PLACE" or Path(what).exists():
            raise
        raise click.BadParameter(f"{error.message}; and there is no such file", param_hint="WHAT") from None


def _no_line_options(connect: bool, answer: bool, save: Path | None, settings: dict[str, str | None]) -> None:
    given = [name for name, value in settings.items() if value is not None]
    given += [name for name, on in (("connect", connect), ("answer", answer), ("save", save is not None)) if on]
    if given:
        raise click.UsageError(f"--{' and --'.join(given)} are for a line; a capture is just read")


def _captured(what: str) -> "list[CapturedBytes]":
    from engine.mapping.trying.capture import read

    try:
        if what == "-":
            data = sys.stdin.buffer.read(MAX_BYTES)
        else:
            with Path(what).open("rb") as file:
                data = file.read(MAX_BYTES)
    except OSError as error:
        raise click.UsageError(f"{what}: cannot be read: {error.strerror}") from error
    return read(data)


async def _heard(
    line: LineAt, known: list[Any], for_s: float, answer: bool, save: Path | None
) -> "list[CapturedBytes]":
    """The bytes until all is known, or the time is over; of the connection that sent most."""
    from engine.commands.shared.listening import QUIET_S, WatchedConnection, listening
    from engine.diagnostics.lines.guess import Confidence, guess

    stop = asyncio.Event()

    def pieces(watch: WatchedConnection) -> "list[CapturedBytes]":
        return list(watch.pieces)

    async def know() -> None:
        looked_at = 0
        while True:
            await asyncio.sleep(QUIET_S)
            now = sum(len(watch.pieces) for watch in listener.watches)
            if now == looked_at:  # the line is quiet
                for watch in listener.watches:
                    made = guess(pieces(watch), known, live=True)
                    if made.link.sure is made.format.sure is made.analyzer.sure is Confidence.SURE:
                        stop.set()
            looked_at = now

    async with listening(line, None, save=save, answer=answer) as listener:
        where = f"{line.place.rpartition(':')[0]}:{listener.port}" if line.listens else line.place
        say(f"listening on {where} for {for_s:g} s at most; let the analyzer send a result")
        knowing = asyncio.create_task(know())
        await listener.until(stop, for_s)
        knowing.cancel()
        await asyncio.wait({knowing})
    return max((pieces(watch) for watch in listener.watches), key=lambda one: sum(len(p.data) for p in one), default=[])


def _document(made: "Guess") -> dict[str, Any]:
    return {
        "parts": [
            {"name": part.name, "value": part.value, "sure": part.sure.value, "why": part.why} for part in made.parts
        ],
        "options": made.options,
        "settings": made.settings,
        "columns": [] if made.rows is None else list(made.rows.columns),
        "enough": made.is_enough,
        "remarks": [{"about": one.key, "remark": one.text, "advice": one.advice} for one in made.seen.remarks],
    }


def _lines(made: "Guess") -> Iterator[str]:
    for part in made.parts:
        value = click.style(f"{part.value or '-':<24}", bold=bool(part.value))
        yield f"{part.name:<9} {value} {part.sure.value:<9} {printable(part.why)}"
    yield from (f"{'option':<9} {option}: {value}" for option, value in made.options.items())
    yield from (f"{'setting':<9} {setting}: {value}" for setting, value in made.settings.items())
    if made.rows is not None:
        proposed = {column: role for role, column in made.rows.proposed().items()}
        yield from (f"{'column':<9} {printable(one)}: {proposed.get(one, '-')}" for one in made.rows.columns)
    yield ""
    yield "seen:"
    yield from (f"  {printable(str(remark))}" for remark in made.seen.remarks)
    if not made.is_enough:
        yield "not sure: " + "; ".join(dict.fromkeys(part.why for part in made.parts if not part.value))


def _layout(made: "Guess", folder: Path, path: Path, columns: tuple[str, ...], decimal: str | None) -> tuple[Path, str]:
    """The layout of rows, and where it belongs.

    Raises:
        ConfigError: it is not clear what a column has.
    """
    from engine.config.site import search_path
    from engine.diagnostics.lines.rows import Meant, decimal_of, layout_text, problems, times_of
    from engine.mapping.code_tables.table_files import first_file
    from engine.model.errors import ConfigError

    assert made.rows is not None
    named = made.rows.proposed() | dict(one.split("=", 1) for one in columns if "=" in one)
    known = {role: made.rows.values(column) for role, column in named.items() if column in made.rows.columns}
    times = times_of(known.get("time", []))
    sign = decimal or decimal_of(known.get("value", []))
    meant = Meant(columns=named, decimal=sign, time=times[0] if len(times) == 1 else "")
    if first_file(path.name, search_path(folder, "layouts")) is not None:
        raise ConfigError(f"{path} was not written: a layout has the name {path.stem} already, give another one")
    if wrong := list(problems(made.rows, meant)):
        raise ConfigError(f"{path} was not written: {'; '.join(wrong)} (--column ROLE=NAME, --decimal SIGN)")
    made.options["layout"] = path.stem
    return folder / "layouts" / path.name, layout_text(path.stem, made.rows, meant)


def _write(
    session: Session,
    made: "Guess",
    path: Path,
    place: tuple[str, str] | None,
    line: dict[str, str],
    columns: tuple[str, ...],
    decimal: str | None,
) -> None:
    """Write the channel file, or leave everything as it was."""
    from engine.config.load import load_site
    from engine.config.sources.source import TcpPart
    from engine.config.sources.source_http import HttpPart
    from engine.diagnostics.lines.guess import channel_text
    from engine.model.errors import ConfigError

    if not made.is_enough:
        raise ConfigError(f"{path} was not written: too little is known of the line (see above)")
    if path.suffix != ".yaml":
        raise click.UsageError(f"--write {path}: a channel file ends in .yaml, as channels/chemistry.yaml")
    site = load_site(session.folder, require_secrets=False)
    layout = _layout(made, site.folder, path, columns, decimal) if made.rows is not None else None
    if made.decimal is not None and not made.decimal.value:
        raise ConfigError(f"{path} was not written: {made.decimal.why} (--decimal SIGN)")
    sources = [one.source for one in site.channels.values()]
    schema = site.folder / SCHEMAS / "channel.json"
    text = SCHEMA_LINE.format(Path(os.path.relpath(schema, path.resolve().parent)).as_posix()) + channel_text(
        made,
        name=path.stem,
        place=place,
        line=line,
        destinations={name: one.takes for name, one in site.config.destinations.items()},
        taken={one.listen.port for one in sources if isinstance(one, TcpPart | HttpPart) and one.listen is not None},
    )
    files = [*([layout] if layout is not None else []), (path, text)]
    for at, (file, content) in enumerate(files):
        try:
            create(file, content)
        except click.UsageError:
            for before, _ in files[:at]:
                before.unlink()
            raise
    try:
        load_site(session.folder, require_secrets=False)
    except ConfigError:
        for file, _ in files:
            file.unlink()  # a file that would keep the site from starting is worse than none
        say(f"{path} was not written, because the site would not start with it:")
        raise
    if not schema.is_file():
        write_schemas(site.folder)
    say(f"wrote {' and '.join(str(file) for file, _ in reversed(files))}")
    channels = session.folder / "channels"
    if path.resolve().parent != channels.resolve():
        say(f"The site reads channels from {channels} only: move it there.")
    if place is None:
        say("The address is only an example: set source: to where the analyzer is.")
    say("Next: labrelay check, then labrelay run (or labrelay reload, where the daemon runs).")
