"""Ask an analyzer for results that it keeps. They come as messages like others: a repeat is recognised as ever."""

import asyncio

from engine.features.orders.exchange.asking import Asking
from engine.features.orders.exchange.download import PUT_OFF, Outlet
from engine.model.clock import Clock
from engine.model.errors import RefusedError
from engine.model.link_events import Sent

FREE_WITHIN_S = 30.0  # a line that is busy for longer: a person tries again


async def fetch(outlet: Outlet, asking: Asking, clock: Clock, *, specimen: str = "", since_us: int = 0) -> None:
    """Ask for the results of one specimen, or for all since a time; return once the analyzer has taken the request.

    Raises:
        RefusedError: this analyzer gives none, the number cannot be sent, or the line did not take the request.
    """
    now_us = clock.now_us()
    context = asking.context(now_us, f"F{now_us // 1_000_000}", unasked=True)
    asks = getattr(asking.dialogue, "fetch", None)
    reply = None if asks is None else asks(specimen, asking.local(since_us), context.now, context)
    if reply is None and not specimen and asks is not None and asks("1", "", "", context) is not None:
        raise RefusedError("this analyzer gives the results of one tube at a time: name it with --specimen")
    if reply is None:
        raise RefusedError("this analyzer gives no stored results on request, as far as is known; send them from there")
    try:
        async with asyncio.timeout(FREE_WITHIN_S):
            while await outlet.free():
                end = await outlet.send(reply)
                if isinstance(end, Sent):
                    return
                if end.reason != PUT_OFF:
                    raise RefusedError(f"the analyzer did not take the request ({end.reason}); try again")
    except TimeoutError:
        raise RefusedError(f"the line was busy for {FREE_WITHIN_S:.0f} s; try again") from None
    raise RefusedError("the analyzer has ended the connection; try again")
