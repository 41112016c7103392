"""Snapshots for people, metrics, logs, and taps on the way of messages.

`taps` serves `labrelay tap`. The parts of the way of a message report to it (durable, outcome, attempt ended), which
costs a look at an empty list while nothing follows. A follower has a bounded queue of references; lines are made when
it reads them, at most a hundred a second, and the others are counted. So a terminal that does not read delays nothing.
"""
