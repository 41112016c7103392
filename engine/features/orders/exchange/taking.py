"""How orders are taken: which analyzer runs which test, as the configuration in force says it.

Orders that a person enters: the act and its items, in one transaction.

Ask an analyzer for results that it keeps. They come as messages like others: a repeat is recognised as ever.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

from engine.config.channel import ChannelConfig
from engine.features.orders import rows as worklist
from engine.features.orders.config.orders import LisConfig, orders_of
from engine.features.orders.exchange.asking import Asking
from engine.features.orders.exchange.download import PUT_OFF, Outlet
from engine.features.orders.exchange.listening import answers_later
from engine.model.content.quality_controls import is_control_number
from engine.model.errors import RefusedError
from engine.model.link_events import Sent
from engine.model.orders import OrderLine
from engine.model.process.clock import Clock
from engine.model.worklist import LineOutcome, TakeSettings
from engine.store.core.writing.batch import Batch
from engine.store.core.writing.operation import Priority, operation
from engine.store.operations import audit


def take_settings(channels: Mapping[str, ChannelConfig], lis: LisConfig | None = None, of: str = "") -> TakeSettings:
    """How orders are taken of a laboratory system, over the channel ``of``; None: of a person."""
    groups: dict[str, set[str]] = defaultdict(set)
    known: dict[str, frozenset[str]] = {}
    for name, channel in channels.items():
        if (orders := orders_of(channel)) is not None:
            known[name] = frozenset(orders.codes)
            for group in orders.groups:
                groups[group].add(name)
    settings = TakeSettings(known_channels=known, groups={name: frozenset(members) for name, members in groups.items()})
    return settings if lis is None else _of_lis(settings, lis, later=answers_later(channels, of))


def _of_lis(settings: TakeSettings, lis: LisConfig, *, later: bool) -> TakeSettings:
    return TakeSettings(
        known_channels=settings.known_channels,
        groups=settings.groups,
        targets=lis.targets or (),
        codes=lis.codes,
        panels=lis.panels or {},
        specimen_reuse_us=round(lis.specimen_reuse * 1_000_000),
        expires_us=round(lis.expires * 1_000_000),
        is_control=partial(is_control_number, listed=lis.control_numbers) if lis.control_numbers else None,
        cancel_by_specimen=lis.cancel == "specimen",
        answers_later=later,
    )


@operation(priority=Priority.RECEIVE)
def add(batch: Batch, actor: str, lines: Sequence[OrderLine], settings: TakeSettings) -> tuple[int, list[LineOutcome]]:
    """Note the act, and take the orders; the row of the act, and the outcome of each line.

    The act names the tests, and neither tube nor patient: its items have them.
    """
    act = audit.note(batch, actor, "order-add", {"tests": [line.test for line in lines]})
    return act, worklist.take_orders(batch, act, "", lines, settings)


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
