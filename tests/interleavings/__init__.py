"""Random interleavings of questions, orders and results on lines that lose and damage bytes, and a judge of each byte.

    desk        a journal whose commits are steps, two channels with their real links and desks, a clock
    analyzer    the other end of the line: E1381 in a plain way of its own, and what it was told to run
    worklist    what docs/orders.md says of each item, as plain dictionaries: the judge of every commit
    play        one interleaving: what happens next, and what must hold
    several     many of them, one after the other

Everything happens in one thread and in the order that the seed says: a commit, a byte on the line and a second that
passes are steps like an order or a question. So a kill is to end here and to begin from what is on the disk.
"""
