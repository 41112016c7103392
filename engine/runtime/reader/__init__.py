"""Pages are drawn in a process of their own, the *reader*, so that people who read delay no acknowledgement.

    daemon                                            reader
    listens, TLS, who asks, limits, every act         journal read-only, no way to write
        | snapshot, todo: where they are new
        | draw: an admitted request, and who asks         the same server of pages (`engine.runtime.pages`)
        | <- drawn: status, headers, body             | <- elsewhere: the daemon draws it
        | <- ask: for a request that is drawn: ends of a line, what a person has looked at, a dry run of an act
        | answer; no answer: why it is refused, or nothing: the daemon draws it

- The daemon draws each page itself while there is no reader: one starts, has ended, or has read files of another
  configuration. So the end of a reader is no answer of 503, and a request under way is drawn again.
- The first request of a page starts it, nice. One that ends is started again, with a back-off. One that is silent, or
  does not answer a request, is ended. One that grows too large takes no further request, and ends.
- It knows what the daemon knew when the request came: each new snapshot goes before the request that may show it.
- What it asks is answered as for the person whose request is drawn (`engine.web.apart.answered`). Of acts it gets
  the dry run alone, of one that this person may give. `Route.here` says why the daemon draws a page always.
- It gets the journal's data keys over the socket, and never the key that wraps them.
- Both ends trust each other as far as this: the daemon reads JSON and bytes of it, and no other objects.

child     its side, `python -m engine.runtime.reader`          process   the daemon's side
"""

import os

import engine


def _build() -> list[int]:
    """What changes where another program is put in the place of this one."""
    found = os.stat(engine.__file__)
    return [found.st_dev, found.st_ino, found.st_mtime_ns]


BUILD = _build()
Audience = frozenset[str] | None  # the channels that those see who ask; None: all
