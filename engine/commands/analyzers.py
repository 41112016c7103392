"""List the analyzers that LabRelay knows, and what was seen of each.

A pack is made from captured messages, examples of the maker's manual, or models of them; the list says which.
`show NAME` prints the evidence, the settings to make on the analyzer, its traps, and its code table.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from engine.commands.shared.output import ExitCode, Form, form_option, show_document, show_rows
from engine.commands.shared.session import Session, pass_session
from engine.feature import Hook
from engine.views.view import Field, Row, View, plural, table

if TYPE_CHECKING:
    from engine.diagnostics.packs import Pack, PackWords

GROUP = "start"


OF_PACK: Hook[Callable[["Pack"], "PackWords"]] = Hook("of_pack")

LOINC_NOTICE = (
    "This material contains content from LOINC (https://loinc.org). LOINC is copyright (c) Regenstrief Institute, Inc. "
    "and the LOINC Committee and is available at no cost under the licence at https://loinc.org/license. "
    "Compare each code with the assays you run before results leave the laboratory."
)
RESULTS_ONLY = "results only"
ANALYZERS = View[Row](
    "analyzers",
    Field("analyzer", "ANALYZER"),
    Field("maker", "MAKER"),
    Field("models", "MODELS"),
    Field("measures", "MEASURES"),
    Field("orders", "ORDERS"),
    Field("seen", "SEEN"),
    Field("codes", "CODES", right=True),
    Field("unmapped", "WITHOUT LOINC", right=True),
    Field("suggested", "SUGGESTED", right=True),
    Field("left_out", "NO RESULTS", right=True),
)
CODES = View[Row](
    "code_table",
    Field("code", "CODE"),
    Field("unit_in", "UNIT"),
    Field("loinc", "LOINC"),
    Field("display", "MEANS"),
    Field("ucum", "UCUM"),
    Field("source", "SOURCE"),
    Field("note", "NOTE"),
)


@click.group(help=__doc__, invoke_without_command=True)
@form_option(Form.TABLE, Form.JSON)
@click.pass_context
def command(ctx: click.Context, form: Form) -> ExitCode:
    if ctx.invoked_subcommand is not None:
        return ExitCode.OK
    from engine.diagnostics.packs import packs

    rows = [summary(pack) for pack in packs(ctx.obj.folder_or_none)]
    show_rows(form, ANALYZERS, rows, "no packs are installed; is the package whole?")
    return ExitCode.OK


def summary(pack: "Pack") -> dict[str, Any]:
    """One row of the list. Codes are counted once, however many units they have; some are known to be no results."""
    from engine.diagnostics.packs import codes_of, loinc_gaps
    from engine.mapping.code_tables.table_files import NO_RESULT

    rows, gaps = codes_of(pack), loinc_gaps(pack)
    mapped = {row.cells["code"] for row in rows if row.code}
    none = {row.cells["code"] for row in rows if row.cells.get("type") == NO_RESULT}
    config = pack.config
    kinds = Counter(one.what for one in config.seen)
    return {
        "analyzer": pack.name,
        "maker": config.maker,
        "models": list(config.models),
        "measures": config.measures,
        "format": config.format,
        "orders": config.orders or RESULTS_ONLY,
        "seen": [f"{kind} x{count}" if count > 1 else kind for kind, count in kinds.items()],
        "codes": len(mapped),
        "unmapped": len(gaps.suggested) + len(gaps.unknown),
        "suggested": len(gaps.suggested),
        "left_out": len(none),
    }


@command.command()
@click.argument("name")
@form_option(Form.TABLE, Form.JSON)
@pass_session
def show(session: Session, name: str, form: Form) -> ExitCode:
    """Show what is known about one analyzer."""
    from engine.diagnostics.packs import codes_of, find_pack

    try:
        pack = find_pack(name, session.folder_or_none)
    except KeyError as error:
        raise click.UsageError(error.args[0]) from None
    rows = [{key: row.cells.get(key, "") for key in (field.name for field in CODES.fields)} for row in codes_of(pack)]
    document = {
        **summary(pack),
        "speaks": pack.config.speaks,
        "evidence": [one.model_dump() for one in pack.config.seen],
        "recognised_by": [sign.why for sign in pack.config.recognise],
        "set_up": list(pack.config.set_up),
        "traps": list(pack.config.traps),
        "code_table": rows,
        **{name: value for known in OF_PACK.each() for name, value in known(pack).document.items()},
        "notice": LOINC_NOTICE,
    }
    show_document(form, document, _for_people(pack, rows))
    return ExitCode.OK


def _for_people(pack: "Pack", rows: list[dict[str, str]]) -> Iterator[str]:
    config = pack.config
    yield click.style(f"{pack.name}: {config.maker} {', '.join(config.models)}, {config.measures}", bold=True)
    yield config.speaks
    if config.orders:
        yield f"Orders: {config.orders}; answered where orders: of its channel names its tests (docs/questions.md)"
    else:
        yield "Orders: results only, as far as is known"
    yield ""
    yield "The evidence"
    for one in config.seen:
        yield f"  {one.what}, {one.model}: {one.shows}"
        yield f"    {one.file}  {one.link}"
    for title, lines in (
        ("Recognised by", [sign.why for sign in config.recognise]),
        ("To set on the analyzer", config.set_up),
        ("Traps", config.traps),
    ):
        if lines:
            yield ""
            yield title
            yield from (f"  - {' '.join(text.split())}" for text in lines)
    yield ""
    yield "Codes"
    yield from (f"  {text}".rstrip() for text in _without_loinc(pack, rows))
    yield from (f"  {text}" for text in table(rows, CODES.columns))
    yield ""
    yield LOINC_NOTICE
    yield ""
    yield f"A channel for it: labrelay init --analyzer {pack.name}"
    if pack.codes:
        yield f"Its code table, to copy where yours differs: {pack.codes}"


def _without_loinc(pack: "Pack", rows: list[dict[str, str]]) -> Iterator[str]:
    """Which results of this analyzer go out without a LOINC code, and what to do."""
    row = summary(pack)
    if not rows:
        yield "none: no code of this analyzer is known well enough; all pass as they are sent"
    elif row["unmapped"]:
        which = "no code of this table has" if not row["codes"] else f"{plural(row['unmapped'], 'code')} without"
        yield f"{which} a LOINC code, because there is not evidence enough for one (NOTE says why)."
        for known in OF_PACK.each():
            yield from known(pack).lines
        if row["suggested"]:
            yield f"The suggestions with their sources: labrelay tables suggest {pack.name}"
        yield "Such a result goes out under the analyzer's own code; the page counts it as a code without a mapping."
        yield "Give these codes rows in a table of your own, once your laboratory knows what they mean: labrelay gaps"
        yield "prints the rows."
        yield ""
