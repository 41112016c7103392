"""Functions that read settings of the channel that received the message."""

from collections.abc import Mapping
from typing import Any

from engine.mapping.functions.registry import function
from engine.mapping.message.message_context import MessageContext
from engine.mapping.values.uris import quoted

_RUNS_APART = ("+obx-14", "+r-13")


@function("channel_system(name: literal) -> text!", whole_message=True)
def channel_system(run: MessageContext, name: str) -> str:
    """A system of identifiers that only this channel uses: for numbers whose system no setting names."""
    return f"urn:labrelay:ns:{quoted(run.context.channel)}:{quoted(name)}"


@function("policy(name: literal) -> text", whole_message=True)
def policy(run: MessageContext, name: str) -> str | None:
    """The channel's policy for a case with several answers, else the mapping's under `policies:`; absent where neither
    has one.
    """
    return run.policy(name) or None


@function("numbers_restart() -> flag!", whole_message=True)
def numbers_restart(run: MessageContext) -> bool:
    """Whether order and specimen numbers of this channel start anew every day (`specimen_ids: restart` or `day`)."""
    return run.context.specimen_ids != "unique"


@function("runs_apart() -> flag!", steady=True, settings=("observation_key",))
def runs_apart(run: MessageContext) -> bool:
    """Whether the time distinguishes a result from an earlier run of the same test (setting `observation_key`, as
    `+OBX-14`, `+R-13`): then both are kept. Without it the later one replaces the earlier one.
    """
    return are_runs_apart(run.settings)


def are_runs_apart(settings: Mapping[str, Any]) -> bool:
    """As `runs_apart`, of a channel."""
    return str(settings.get("observation_key", "")).lower() in _RUNS_APART


@function("one_by_one() -> flag!", steady=True, settings=("one_by_one",))
def one_by_one(run: MessageContext) -> bool:
    """Whether the results of an order come one by one (setting `one_by_one`): then each message has a report of its
    own, and none takes the place of one that has other results."""
    return are_one_by_one(run.settings)


def are_one_by_one(settings: Mapping[str, Any]) -> bool:
    """As `one_by_one`, of a channel."""
    return str(settings.get("one_by_one", "")).lower() in ("yes", "true")
