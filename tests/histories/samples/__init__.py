"""Histories of samples: what a laboratory knows of a sample, what its messages show of that, and five questions of the end.

facts      samples with an identity, statements with a truth value, messages that show some of it
draw       a history from a seed: ordinary lives of samples, and one life that is a trap or none (`lives`)
render     a message's bytes
site       the program under test: channels, a destination of each kind, alerts
play       a batch of histories on one daemon, step by step
receivers  what those who were sent something believe at the end, of every kind of output
oracle     the five questions: pure, and knows nothing of keys of the program
known      faults that are known, each with its seed: a test walks them
"""
