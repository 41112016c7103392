"""Acts that correct code tables."""

from typing import Annotated

from pydantic import Field

from engine.actions.control import Request
from engine.actions.declaring import Declared, NoArguments, NumberOrNone, RowNumber
from engine.actions.running_site import Result, RunningSite
from engine.features.codes.lists import CORRECTION
from engine.features.codes.service.correcting import Change, Correcting, Previews, look_to_json
from engine.features.codes.service.corrections import undone
from engine.features.codes.service.missing_codes import CodeService
from engine.model.errors import RefusedError
from engine.model.site.corrections import RowChange
from engine.model.site.permissions import CHANGING

ACTS = Declared(6)
Cells = dict[Annotated[str, Field(max_length=50)], Annotated[str, Field(max_length=200)]]


class Correction(NoArguments):
    reason: str | None = None
    dry_run: bool = False
    version: NumberOrNone | None = None

    @property
    def why(self) -> str:
        return (self.reason or "").strip()


class TableRow(Correction):
    """A row for a channel's code table; without ``cells`` the files decide about the key again.

    Attributes:
        where: cells of the key columns.
        version: of the corrections that the person has seen; a dry run says it.
    """

    channel: str
    table: str
    where: Annotated[Cells, Field(min_length=1, max_length=10)]
    cells: Cells = Field(default={}, max_length=30)


class TableUndo(Correction):
    """``version`` as of `TableRow`."""

    correction: RowNumber


@ACTS.act(
    "table_set", CHANGING, api="correct a row of a code table; a dry run shows what it changes in stored messages"
)
async def set_row(site: RunningSite, request: Request, asked: TableRow) -> Result:
    change = RowChange(channel=asked.channel, table=asked.table, key=asked.where, cells=asked.cells, reason=asked.why)
    return await _corrected(site, request, asked, lambda made: change)


@ACTS.act("table_undo", CHANGING, api="take back a correction of a code table")
async def undo(site: RunningSite, request: Request, asked: TableUndo) -> Result:
    return await _corrected(site, request, asked, lambda made: undone(made, asked.correction, asked.why))


async def _corrected(site: RunningSite, request: Request, asked: Correction, change: Change) -> Result:
    app = None if site.running is None else site.service(CodeService).app
    correcting = Correcting(site.journal, site.loaded, app, site.kept(Previews))
    if asked.dry_run:
        return look_to_json(*await correcting.look(change))
    if asked.version is None:
        raise RefusedError("give the version of the corrections that you have seen: a dry run says it")
    made = await correcting.make(change, request.actor, version=asked.version)
    return {name: value for name, value in CORRECTION.row(made).items() if name != "at"}
