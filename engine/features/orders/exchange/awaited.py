"""Messages to an analyzer that it confirms by a message of its own (ORL^O34, ACK^Q03), by their control ids (MSA-2).

Of one connection: analyzers count control ids from 1 anew, and an answer comes by the connection of its message.
"""

from collections import OrderedDict

from engine.model.orders import Reply
from engine.model.values import value

MOST = 200  # messages of one connection; older ones are forgotten


@value(kw_only=True)
class Unconfirmed:
    """A message that was written.

    Attributes:
        query: of which it is a part. items: that it carries. cancels: it takes them back.
    """

    query: int = 0
    items: tuple[int, ...] = ()
    cancels: bool = False


class Awaited:
    """The messages of one connection whose confirmation may still come."""

    def __init__(self) -> None:
        self._sent: OrderedDict[str, Unconfirmed] = OrderedDict()

    def add(self, reply: Reply, query: int, *, cancels: bool = False) -> None:
        self._sent.pop(reply.control_id, None)
        self._sent[reply.control_id] = Unconfirmed(query=query, items=reply.items, cancels=cancels)
        if len(self._sent) > MOST:
            self._sent.popitem(last=False)

    def pop(self, control_id: str) -> Unconfirmed:
        """The message that is confirmed now; an empty one where it is not known."""
        return self._sent.pop(control_id, Unconfirmed())

    def left(self) -> list[Unconfirmed]:
        """All messages that carry items, and that nothing confirmed."""
        return [one for one in self._sent.values() if one.items]
