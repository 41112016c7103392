"""Histories of samples: what a laboratory knows of them, what its messages show of that, and nine questions of the end.

facts      samples with an identity, statements with a truth value, messages that show some of it
day        a history that is being made up
lives      lives of samples: ordinary ones, and traps
duties     what a shift brings: controls in every form, panels for several receivers, wrong clocks, alarms
shapes     numbers, codes and values as makers send them, in other places than the standard's
materials  several materials of one order, under one code
draw       a history from a seed: some ordinary lives, and one that is a trap or none; or a shift with one duty
render     a message's bytes
site       the program under test: channels, a destination of each kind, alerts
play       a batch of histories on one daemon, step by step; or by calls, on the site of `called`
receivers  what those who were sent something believe at the end, of every kind of output
oracle     the nine questions: pure, and knows nothing of keys of the program
known      faults that are known, each with its seed: a test walks them
run        many of them, as `make histories` does
judged     the same before the judge on facts alone, without a daemon
hard       harder lives, for the judge alone
"""
