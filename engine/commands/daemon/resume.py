"""Resume a channel, a destination or a lane that was paused.

A channel listens again (or connects); a destination or lane gets its waiting deliveries, in order.
"""

from engine.commands.daemon.pause import switching_verb

GROUP = "every day"

command = switching_verb("resume", __doc__)
