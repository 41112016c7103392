"""How orders are taken: which analyzer runs which test, as the configuration in force says it.

Orders that a person enters: the act and its items, in one transaction.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

from engine.config.channel import ChannelConfig
from engine.features.orders import rows as worklist
from engine.features.orders.config.lis import LisConfig
from engine.features.orders.config.orders import orders_of
from engine.features.orders.exchange.listening import answers_later
from engine.model.orders import OrderLine
from engine.model.quality_controls import is_control_number
from engine.model.worklist import LineOutcome, TakeSettings
from engine.store.core.batch import Batch
from engine.store.core.operation import Priority, operation
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
