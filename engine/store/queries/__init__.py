"""Reading the journal: short transactions on connections that cannot write, each with a deadline.

A reader that holds an old snapshot keeps the log from being emptied, so none may last: a query that takes longer than
two seconds is interrupted and says so. Lists are paged by key, never by offset, and never read bodies. Any thread may
read; the daemon's pages and the command line share this class, and it works beside a running daemon or without one.
What only some reads need is imported by them, so that a command that lists starts without what writes.

connecting   how a file is opened to be read
snapshots    the transactions, and the keys; what the rest stands on
messages     pages of messages, and the trace of one
contents     payloads, frames and documents
letters      dead letters and held results; in groups of one cause: letter_groups
lanes        channels and lanes, and what is paused
acts         the audit trail, and unfinished replays
tallies      counters, unmapped codes, reagents
extent       how big the journal is, and how far back it reaches
"""

from engine.store.queries.acts import Acts
from engine.store.queries.contents import Contents
from engine.store.queries.extent import Extent
from engine.store.queries.lanes import Lanes
from engine.store.queries.letters import Letters
from engine.store.queries.messages import Messages
from engine.store.queries.tallies import Tallies


class Reader(Messages, Contents, Letters, Lanes, Acts, Tallies, Extent):
    """Read access to one journal file."""
