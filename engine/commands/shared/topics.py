"""Short texts that `labrelay help TOPIC` prints."""

from collections.abc import Callable
from typing import NamedTuple

from engine.commands.shared.output import EXIT_WORDS

_AGAIN = """\
Which of retry, replay, reprocess, edit, restart? First mend the cause; each counts and asks before it sends.

  dlq retry     A dead letter: a delivery goes out again as it is stored, in its old place; a dead message is
                mapped again with today's mapping.
  dlq edit      A dead message whose content is wrong: you correct it, and it is processed as a new message.
  reprocess     The mapping was wrong: shows what today's mapping makes other than was delivered; --apply sends that.
                --refused: of what a destination refused.
  replay        A receiver lost its data, or a new one wants it: stored documents go out again, unchanged.
  restart       No data is wrong: opens a channel's line, or a destination's connections, anew.

A result that waits for a person is no dead letter: labrelay held."""

_TIMES = """\
How times are typed (--since, --until):

  30m, 2h, 1h30m, 3d         an age: so long before now (s, m, h, d)
  2026-03-01                 a day, from its beginning
  2026-03-01T10:30           a day and time, in the site's zone
  2026-03-01T10:30+05:30     with an offset: in that zone

The site's zone is `timezone:` under `site:` in config/labrelay.yaml; without a site it is the zone of this machine.

How times are shown: tables and sentences use the site's zone, with its offset. JSON, CSV and logs use UTC. A document
has the zone of its channel."""


class Topic(NamedTuple):
    """``title``: for the list of topics."""

    title: str
    text: Callable[[], str]


def _exit_codes() -> str:
    rows = (f"  {code.value:>3}  {words.replace('`', '')}" for code, words in EXIT_WORDS.items())
    return "\n".join(["How a command ends, for scripts:", "", *rows])


TOPICS = {
    "again": Topic("Which of retry, replay, reprocess, edit, restart?", lambda: _AGAIN),
    "exit-codes": Topic("How a command ends, for scripts.", _exit_codes),
    "times": Topic("How times are typed and shown.", lambda: _TIMES),
}
