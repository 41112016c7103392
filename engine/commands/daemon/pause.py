"""Pause a channel, a destination or a lane until a person resumes it; no received message is lost by it.

A paused channel is closed, so that its analyzer keeps its results and sends them later; acknowledged messages are still
delivered. A paused destination (or lane: one channel's way to it, CHANNEL/DESTINATION) gets no further attempt, while
messages are received, mapped and queued as always. The pause outlives restarts; its person, time and reason are shown.
"""

import click

from engine.commands.shared.selecting import given_duration
from engine.commands.shared.switching import switching_verb

GROUP = "every day"

_drain = click.option(
    "--drain",
    is_flag=True,
    help="Wait until what is under way has ended: of a channel, until all it has received is delivered.",
)
_within = click.option(
    "--within", default="60s", show_default=True, metavar="TIME", callback=given_duration, help="With --drain: at most."
)
command = switching_verb("pause", __doc__, _drain, _within)
