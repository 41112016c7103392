"""Which tests a line of an order means, and which analyzers it is for."""

from collections.abc import Collection, Iterator, Sequence

from engine.features.orders.rows import items
from engine.model.orders import OrderLine
from engine.model.values import changed
from engine.model.worklist import TakeSettings


def parts(lines: Sequence[OrderLine], settings: TakeSettings) -> Iterator[tuple[int, OrderLine, bool]]:
    """Each line with its place, with the worklist's code for its test, and whether the table of the LIS has the test; a
    panel that no channel has a code for as its tests.
    """
    for place, line in enumerate(lines):
        whole, known = _translated(line, settings)
        tests = settings.panels.get(line.test)
        if not tests or (known and any(whole.test in settings.known_channels[one] for one in runners(line, settings))):
            yield place, whole, known
            continue
        for test in tests:
            part, known = _translated(changed(line, test=test, test_name=""), settings)
            yield place, changed(part, panel=line.test, panel_name=line.test_name), known


def _translated(line: OrderLine, settings: TakeSettings) -> tuple[OrderLine, bool]:
    if settings.codes is None or not line.test:
        return line, True
    code = settings.codes.get(line.test)
    return (line, False) if code is None else (changed(line, test=code, ordered=line.test), True)


def _members(names: Collection[str], settings: TakeSettings) -> set[str]:
    """The channels that are meant by names of channels and of groups."""
    return set(names).union(*(settings.groups.get(name, ()) for name in names)) & settings.known_channels.keys()


def runners(line: OrderLine, settings: TakeSettings) -> set[str]:
    """The channels that an order is for."""
    may = _members(settings.targets, settings) if settings.targets else set(settings.known_channels)
    return may & _members(line.targets, settings) if line.targets else may


def targets(line: OrderLine, settings: TakeSettings) -> frozenset[str]:
    """The targets of an item; where its LIS may not order from all channels these are named one by one."""
    if settings.targets:
        return frozenset(runners(line, settings))
    return items.cut_targets(line.targets, {*settings.known_channels, *settings.groups})
