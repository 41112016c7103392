"""Snapshots for people, metrics, logs, and taps on the path of messages.

`taps` serves `labrelay tap`. The steps of a message's path report to it (durable, outcome, attempt ended), which costs
a look at an empty list without a follower. A follower has a bounded queue of references; lines are made when it reads
them, at most a hundred a second, and the others are counted. So a terminal that does not read delays nothing.
"""
