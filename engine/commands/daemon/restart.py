"""Restart a channel's line, a destination's connections, or a lane, in the running daemon.

A channel is closed and opened again. A destination's connections are made anew, and its waiting retries are made at
once; so are those of a lane (CHANNEL/DESTINATION). Nothing is lost, and no answered delivery is sent twice.
"""

from engine.commands.daemon.pause import switching_verb

GROUP = "when something is wrong"

command = switching_verb("restart", __doc__)
