"""Add an analyzer while the daemon runs, in the steps that the page has: listen, recognise, codes, start.

`listen` makes a draft: a channel that listens, keeps what comes, and sends nothing. Let the analyzer send a result;
`look` says what was recognised, from what, and what its codes may mean. `recognise` takes it over, `code` gives a code
a meaning, and `part` says which part of a test's id is its code. `look NAME first` shows one result as it came beside
what goes out; once a person has compared it with the screen of the analyzer, `start` ends the draft.

Each step writes the channel's YAML (with a layout and a table of codes where it needs them) and puts it in force.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from engine.commands.shared.output import ExitCode, Form, form_option, say, show_document
from engine.commands.shared.selecting import channel_names
from engine.commands.shared.session import Session, consent, pass_session
from engine.views.view import printable

GROUP = "start"

TIMEOUT_S = 120.0
_name = click.argument("name", shell_complete=channel_names)
_form = form_option(Form.TABLE, Form.JSON)


@click.group(help=__doc__)
def command() -> None:
    pass


def _ask(session: Session, verb: str, **args: Any) -> dict[str, Any]:
    return session.call(verb, args, timeout=TIMEOUT_S)


def _version(session: Session, name: str) -> str:
    found: str = _ask(session, "draft_look", name=name, step="listen")["version"]
    return found


def _made(form: Form, made: Mapping[str, Any], then: str) -> ExitCode:
    show_document(form, made, [f"channels/{made['name']}.yaml is in force"])
    say(f"Next: {then.format(name=made['name'])}")
    return ExitCode.OK


@command.command(help="Make a draft that listens; CALLED is the analyzer's name, as people say it.")
@click.argument("called")
@click.option("--listen", metavar="HOST:PORT", help="The analyzer connects to us, here.")
@click.option("--connect", metavar="HOST:PORT", help="The analyzer is the server; we connect to it.")
@click.option("--device", metavar="PATH", help="A serial line, as /dev/serial/by-id/usb-...")
@click.option("--baud", metavar="NUMBER", help="Of a serial line; 9600 by default.")
@click.option("--bytesize", metavar="7|8", help="Data bits.")
@click.option("--parity", metavar="NAME", help="none, even, odd, mark or space.")
@click.option("--stopbits", metavar="1|2", help="Stop bits.")
@_form
@pass_session
def listen(
    session: Session,
    /,
    called: str,
    listen: str | None,
    connect: str | None,
    device: str | None,
    form: Form,
    **line: str | None,
) -> ExitCode:
    places = [(how, where) for how, where in (("listen", listen), ("connect", connect), ("device", device)) if where]
    if len(places) != 1:
        raise click.UsageError("give one of --listen, --connect and --device")
    ((how, where),) = places
    settings = {key: value for key, value in line.items() if value}
    made = _ask(session, "draft_listen", called=called, how=how, where=where, line=settings)
    return _made(form, made, "let the analyzer send a result, then labrelay add look {name}")


@command.command(help="Show what is known of a draft: its line, its codes, or the first result (with patient data).")
@_name
@click.argument("step", type=click.Choice(["recognise", "codes", "first"]), default="recognise")
@click.option("--search", metavar="WORDS", default="", help="Also terms of LOINC with these words; of codes.")
@_form
@pass_session
def look(session: Session, name: str, step: str, search: str, form: Form) -> ExitCode:
    found = _ask(session, "draft_look", name=name, step=step, contents=step == "first", search=search)
    show_document(form, found, {"recognise": _parts, "codes": _codes, "first": _first}[step](found))
    return ExitCode.OK


def _parts(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{found['messages']} messages came at {found['place']}"
    yield from ([f"fault: {found['fault']}"] if found["fault"] else [])
    yield from (["the newest message broke off before its end: it is evidence, and no result"] if found["torn"] else [])
    for one in found["parts"]:
        yield f"{one['name']:<9} {one['value'] or '-':<24} {one['sure']:<9} {printable(one['why'])}"
    yield from (f"setting   {setting}: {value}" for setting, value in found["settings"].items())
    if found["rows"]:
        yield f"columns   {', '.join(one['name'] for one in found['rows']['columns'])}"
        yield from (f"proposed  {role}={column}" for role, column in found["rows"]["proposed"].items())


def _codes(found: Mapping[str, Any]) -> Iterator[str]:
    for one in found["shared"]:
        told = f"; part {one['part']} of the id differs" if one["part"] else ""
        yield f"! {one['times']} results of one order share the code {printable(one['code'])}{told}"
    for one in found["codes"]:
        yield f"{printable(one['code']):<16} {printable(one['unit']):<12} {one['loinc'] or '-':<10} {one['display']}"
        for proposal in one["proposals"]:
            by = f"{proposal['by']}: {', '.join(proposal['names'])}" if proposal["names"] else proposal["by"]
            yield f"{'':<16} {'':<12} {proposal['loinc']:<10} {proposal.get('display', '')} ({by})"
    yield from (f"found: {one['loinc']:<10} {one['display']}" for one in found["searched"])


def _first(found: Mapping[str, Any]) -> Iterator[str]:
    first = found["first"]
    if first is None:
        yield "no result could be read yet"
        return
    yield f"message {first['message']}" + (f": {first['ended']}" if first["ended"] else "")
    for result in first["results"]:
        yield ""
        yield from (
            f"{one['field']:<9} {printable(one['came']):<24} {printable(one['out']):<24} {one['judged']}"
            for one in result
        )
    yield ""
    yield f"{found['file']}, as start writes it:"
    yield from (f"  {line}" for line in found["text"].splitlines())


@command.command(help="Take over what was recognised; of rows of cells with what each COLUMN has, as specimen=Sample.")
@_name
@click.argument("columns", nargs=-1, metavar="[ROLE=COLUMN]...")
@click.option("--analyzer", metavar="NAME", default="", help="The pack, where it is known (labrelay analyzers).")
@click.option("--decimal", type=click.Choice([".", ","]), help="The decimal sign of its numbers.")
@click.option("--time", default="", metavar="FORM", help="How times of rows are written, as %d/%m/%Y %H:%M.")
@click.option("--controls", default="", metavar="TEXT", help="How the numbers of controls begin, in rows.")
@click.option("--final", is_flag=True, help="Results in rows are final; else their status is unknown.")
@_form
@pass_session
def recognise(
    session: Session,
    name: str,
    columns: tuple[str, ...],
    analyzer: str,
    decimal: str | None,
    time: str,
    controls: str,
    final: bool,
    form: Form,
) -> ExitCode:
    pairs = [one.partition("=") for one in columns]
    if wrong := [role for role, sign, _ in pairs if not sign]:
        raise click.UsageError(f"{wrong[0]}: expected ROLE=COLUMN, as specimen=Sample")
    made = _ask(
        session,
        "draft_recognise",
        name=name,
        version=_version(session, name),
        analyzer=analyzer,
        columns={role: column for role, _, column in pairs},
        decimal=decimal or "",
        time=time,
        controls=controls,
        final=final,
    )
    return _made(form, made, "labrelay add look {name} codes")


@command.command(help="Say which PART of R-3 is the code of a test, from 1.")
@_name
@click.argument("part", type=click.IntRange(1, 11))
@_form
@pass_session
def part(session: Session, name: str, part: int, form: Form) -> ExitCode:
    made = _ask(session, "draft_part", name=name, version=_version(session, name), part=part)
    return _made(form, made, "labrelay add look {name} codes")


@command.command(help="Give a code of the analyzer, with its UNIT, a LOINC code.")
@_name
@click.argument("code")
@click.argument("loinc")
@click.option(
    "--unit", default="", metavar="TEXT", help="The unit, as it is sent; without it, of the code without one."
)
@click.option("--meant", is_flag=True, help="It is meant so, although the table of terms does not have or fit it.")
@_form
@pass_session
def code(session: Session, name: str, code: str, loinc: str, unit: str, meant: bool, form: Form) -> ExitCode:
    row = {"code": code, "unit": unit, "loinc": loinc, "meant": meant}
    made = _ask(session, "draft_codes", name=name, version=_version(session, name), rows=[row])
    return _made(form, made, "labrelay add look {name} first")


@command.command(help="End the draft: MESSAGE, the newest result, was compared with the screen of the analyzer.")
@_name
@click.argument("message", type=click.IntRange(1))
@click.option("--same", is_flag=True, help="Results that share a code are one test, measured several times.")
@click.option("--yes", is_flag=True, help="Do it without being asked.")
@_form
@pass_session
def start(session: Session, name: str, message: int, same: bool, yes: bool, form: Form) -> ExitCode:
    seen = _ask(session, "draft_look", name=name, step="listen")
    consent(f"Send the results of {name} to {', '.join(seen['to']) or 'no destination'} from now on?", yes=yes)
    made = _ask(session, "draft_start", name=name, version=seen["version"], message=message, same=same)
    return _made(form, made, f"labrelay reprocess --channel {name} --since 1d shows what came before")


@command.command(help="Take the draft's files away; its messages stay in the journal.")
@_name
@click.option("--yes", is_flag=True, help="Do it without being asked.")
@_form
@pass_session
def remove(session: Session, name: str, yes: bool, form: Form) -> ExitCode:
    version = _version(session, name)
    consent(f"Remove the draft {name}?", yes=yes)
    show_document(form, _ask(session, "draft_remove", name=name, version=version), [f"{name} was removed"])
    return ExitCode.OK
