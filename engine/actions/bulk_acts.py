"""The bulk acts: a restart goes on with their operations."""

from collections.abc import Mapping

from engine.actions.hold_decisions import DECISIONS
from engine.actions.operations import BulkAct
from engine.actions.replay import replaying
from engine.actions.reprocess import reprocessing
from engine.actions.retry import retrying
from engine.actions.underway import Acts


def bulk_acts(acts: Acts) -> Mapping[str, BulkAct]:
    """By verb."""
    return {"retry": retrying(acts), "replay": replaying(acts), "reprocess": reprocessing(acts), **DECISIONS}
