"""Bodies that many readers ask for: each is made once for as long as what it shows does not change."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable

from engine.web.bodies import Body

MOST = 8  # a page of 500 analyzers has half a megabyte


class KeptBodies:
    """The newest body for each name.

    Args:
        most: so many are kept; the one that was asked for longest ago goes.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[object, Body]] = OrderedDict()
        self._making = asyncio.Lock()

    async def of(self, name: Hashable, shown: object, make: Callable[[], Body]) -> Body:
        """The body of this name.

        Args:
            shown: what it is made of; another object, another body.
            make: called in a thread.
        """
        async with self._making:  # who asks meanwhile waits, and makes no second one
            known = self._kept.get(name)
            if known is None or known[0] is not shown:
                known = self._kept[name] = shown, await asyncio.to_thread(make)
            self._kept.move_to_end(name)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return known[1]
