"""Read the journal: functions of a `Reader`, such as ``trace_of(reader, message)``. An open `Journal` is a reader, too.

Each query reads in short transactions on read-only connections. A reader that holds an old snapshot blocks the
truncation of the log, so none may last: a query that takes longer than two seconds is interrupted and raises an error.
Lists are paged by key, never by offset, and never read bodies. Any thread may read, and so may a command, beside a
running daemon or without one. A command imports only the queries that it uses, so a list starts without the code that
writes.

reader          the transactions, and the keys
messages        pages of messages, and the trace of one
contents        payloads, frames and documents
letters         dead letters and held results
lanes           channels and lanes, and what is paused
acts            the audit trail
tallies         counters, unmapped codes, reagents
extent          how big the journal is, and how far back it reaches
"""
