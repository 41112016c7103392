"""What a mapping may ask about the channel that a message came through."""

from engine.mapping.functions.registry import function
from engine.mapping.run import Run
from engine.mapping.uris import quoted

_RUNS_APART = ("+obx-14", "+r-13")


@function("channel_system(name: literal) -> text!", whole_message=True)
def channel_system(run: Run, name: str) -> str:
    """A system of identifiers that only this channel uses: for numbers whose system no setting names."""
    return f"urn:labrelay:ns:{quoted(run.context.channel)}:{quoted(name)}"


@function("policy(name: literal) -> text", whole_message=True)
def policy(run: Run, name: str) -> str | None:
    """What the channel says, else the mapping under `policies:`, about a case that has several answers; absent where
    neither says it."""
    return run.policy(name) or None


@function("numbers_restart() -> flag!", whole_message=True)
def numbers_restart(run: Run) -> bool:
    """Whether order and specimen numbers of this channel start anew every day (`specimen_ids: restart` or `day`)."""
    return run.context.specimen_ids != "unique"


@function("runs_apart() -> flag!", steady=True, settings=("observation_key",))
def runs_apart(run: Run) -> bool:
    """Whether a result is told from an earlier run of the same test by its time (setting `observation_key`, as
    `+OBX-14`, `+R-13`): then both stay. Without it the later one takes the place of the earlier one."""
    return str(run.settings.get("observation_key", "")).lower() in _RUNS_APART


@function("one_by_one() -> flag!", steady=True, settings=("one_by_one",))
def one_by_one(run: Run) -> bool:
    """Whether the results of an order come one by one (setting `one_by_one`): then each message has a report of its
    own, and none takes the place of one that has other results."""
    return str(run.settings.get("one_by_one", "")).lower() in ("yes", "true")
