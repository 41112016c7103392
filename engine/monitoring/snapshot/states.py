"""States of a channel and a destination, their urgency, and pauses."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Self

from engine.model.texts.phrases import N_, Phrase

# A channel is shown as silent after this many of its usual gaps without a message: with one gap there would be a false
# alarm every day.
SILENT_AFTER_GAPS = 3
RECEIVING_S = 300.0  # without a known usual gap, a message within the last five minutes counts as "receiving"


class Level(Enum):
    """The urgency of a state: nothing to do, look when you can, act now."""

    OK = "ok"
    ATTENTION = "attention"
    PROBLEM = "problem"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return _RANK[self]


_RANK = {Level.PROBLEM: 0, Level.ATTENTION: 1, Level.OK: 2}


class State(Enum):
    """A state: its name in JSON, the words that a person reads, its urgency."""

    words: str
    level: Level

    def __new__(cls, name: str, words: str, level: Level = Level.OK) -> Self:
        state = object.__new__(cls)
        state._value_ = name
        state.words = words
        state.level = level
        return state


class ChannelState(State):
    RECEIVING = "receiving", N_("receiving")  # the last message is no older than the usual gap
    QUIET = "quiet", N_("quiet")  # longer ago, but not worryingly
    SILENT = "silent", N_("silent"), Level.PROBLEM  # much longer ago than usual: look at the analyzer
    # No peer has connected, or we cannot connect.
    WAITING = "waiting_for_connection", N_("not connected"), Level.ATTENTION
    FAULTED = "faulted", N_("down"), Level.PROBLEM  # the listener, device or task is down; being restarted
    # Nothing can be stored (a full disk), so nothing is acknowledged.
    REFUSING = "refusing", N_("not taking messages"), Level.PROBLEM
    PAUSED = "paused", N_("paused"), Level.ATTENTION  # by a person: nothing is received, so nothing is acknowledged
    DISABLED = "disabled", N_("switched off")  # `enabled: false`


class DestinationState(State):
    OK = "ok", N_("delivering")  # the last attempt succeeded
    IDLE = "idle", N_("ready")  # nothing was sent yet
    RETRYING = "retrying", N_("retrying"), Level.ATTENTION  # attempts fail and are repeated
    # Too many failed: nothing is sent until the breaker lets a probe through.
    BREAKER_OPEN = "breaker_open", N_("not reachable"), Level.PROBLEM
    PROBING = "probing", N_("trying again"), Level.ATTENTION  # one attempt is out to see whether it is back
    EXPECTED = "expected_downtime", N_("expected downtime")  # attempts fail, within a window of expected downtime
    PAUSED = "paused", N_("paused"), Level.ATTENTION  # by a person: no attempt is made


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """A person's pause of a channel, a destination or a lane.

    Attributes:
        by: the user, empty where it is not known.
        since: None where it is not known.
        reason: in that person's words.
    """

    by: str = ""
    since: datetime | None = None
    reason: str = ""

    @property
    def words(self) -> Phrase:
        return Phrase("paused by {who}", {"who": self.by}) if self.by else Phrase("paused")


def channel_state(
    *,
    enabled: bool,
    paused: bool = False,
    fault: str,
    storing: bool = True,
    connected: bool,
    connects: bool,
    last_message_age_s: float | None,
    usual_gap_s: float | None,
    up_s: float,
    silent: bool = False,
) -> ChannelState:
    """Decide which state to show for a channel.

    Args:
        storing: new data can be stored. If not, that matters more than the age of the last message.
        connects: we open the connection (or device); then a missing one is reported even after messages came, while a
            sender that connects to us may do so for each message only.
        usual_gap_s: as it is configured; None where it is learned, or on a day off.
        silent: by the learned gap.
        up_s: how long the daemon has been up: a channel that never received anything is silent since then.
    """
    if not enabled:
        return ChannelState.DISABLED
    if paused:
        return ChannelState.PAUSED
    if fault:
        return ChannelState.FAULTED
    if not storing:
        return ChannelState.REFUSING
    age_s = up_s if last_message_age_s is None else last_message_age_s
    # After a start, senders get time to reconnect before a channel counts as silent.
    if silent or (usual_gap_s is not None and min(age_s, up_s) > SILENT_AFTER_GAPS * usual_gap_s):
        return ChannelState.SILENT
    if not connected and (connects or last_message_age_s is None):
        return ChannelState.WAITING
    if last_message_age_s is not None and last_message_age_s <= (usual_gap_s or RECEIVING_S):
        return ChannelState.RECEIVING
    return ChannelState.QUIET
