"""What a mapping may ask about the channel that a message came through."""

from engine.mapping.functions.registry import function
from engine.mapping.run import Run
from engine.mapping.uris import quoted


@function("channel_system(name: literal) -> text!", whole_message=True)
def channel_system(run: Run, name: str) -> str:
    """A system of identifiers that only this channel uses: for numbers whose system no setting names."""
    return f"urn:labrelay:ns:{quoted(run.context.channel)}:{quoted(name)}"


@function("numbers_restart() -> flag!", whole_message=True)
def numbers_restart(run: Run) -> bool:
    """Whether order and specimen numbers of this channel start anew every day (`specimen_ids: restart`)."""
    return run.context.specimen_ids != "unique"
