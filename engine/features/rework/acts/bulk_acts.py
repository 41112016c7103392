"""The bulk acts: a restart goes on with their operations."""

from collections.abc import Mapping

from engine.actions.operations import BulkAct
from engine.actions.underway import Acts
from engine.features.rework.acts.replay import replaying
from engine.features.rework.acts.reprocess import reprocessing
from engine.features.rework.acts.retry import retrying


def bulk_acts(acts: Acts) -> Mapping[str, BulkAct]:
    """By verb."""
    return {"retry": retrying(acts), "replay": replaying(acts), "reprocess": reprocessing(acts)}
