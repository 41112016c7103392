"""Verbs that correct code tables."""

from engine.actions.control import Request
from engine.actions.running_site import Result, RunningSite
from engine.features.codes.lists.corrections import CORRECTION
from engine.features.codes.service.correcting import Change, Correcting, look_to_json
from engine.features.codes.service.corrections import undone
from engine.model.corrections import RowChange
from engine.model.errors import RefusedError
from engine.runtime.control_requests import TableRow, TableUndo


async def set_row(site: RunningSite, request: Request, asked: TableRow) -> Result:
    change = RowChange(
        channel=asked.channel, table=asked.table, key=asked.where, cells=asked.cells, reason=asked.why.strip()
    )
    return await _corrected(site, request, asked, lambda made: change)


async def undo(site: RunningSite, request: Request, asked: TableUndo) -> Result:
    return await _corrected(site, request, asked, lambda made: undone(made, asked.correction, asked.why.strip()))


async def _corrected(site: RunningSite, request: Request, asked: TableRow | TableUndo, change: Change) -> Result:
    correcting = Correcting(site.journal, site.loaded, site.running, site.previews)
    if asked.dry_run:
        return look_to_json(*await correcting.look(change))
    if asked.version is None:
        raise RefusedError("give the version of the corrections that you have seen: a dry run says it")
    made = await correcting.make(change, request.actor, version=asked.version)
    return {name: value for name, value in CORRECTION.row(made).items() if name != "at"}
