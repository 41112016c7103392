"""The ``orders:`` and ``lis:`` blocks of a site's channels, and its sources of kind ``order-status``, fit together.

A name that is wrong would lose orders: no analyzer would get them, or the laboratory system would hear of none.

The keys of orders in `labrelay help keys`.
"""

from collections.abc import Iterator, Mapping

from engine.config.channel import ChannelConfig
from engine.config.destinations.destination import DestinationConfig, FhirDestination
from engine.config.findings.agreement import Destinations, Disagreement
from engine.config.reading.joining import Block, KeyHelp
from engine.config.reading.problems import closest
from engine.config.sources.source_fhir import FhirSearchPart
from engine.config.sources.source_http import HttpPart
from engine.features.orders.config.orders import (
    LisConfig,
    OrdersConfig,
    ReflexRow,
    StatusPart,
    lis_of,
    orders_of,
    status_of,
)


def disagreements(channels: Mapping[str, ChannelConfig], destinations: Destinations) -> Iterator[Disagreement]:
    """All of them."""
    of_analyzers = {name: orders for name, one in channels.items() if (orders := orders_of(one)) is not None}
    yield from _targets(channels, of_analyzers)
    yield from _groups(channels, of_analyzers)
    yield from _tests(channels, of_analyzers)
    yield from _news(channels, destinations or {})
    yield from _reflexes(of_analyzers)


def unsent_after_s(channels: Mapping[str, ChannelConfig]) -> dict[str, float]:
    """The analyzers that have another time than usual until an order counts as unsent."""
    usual = OrdersConfig.model_fields["unsent_after"].default
    times = {name: orders.unsent_after for name, one in channels.items() if (orders := orders_of(one)) is not None}
    return {name: after_s for name, after_s in times.items() if after_s != usual}


def _targets(channels: Mapping[str, ChannelConfig], of_analyzers: Mapping[str, OrdersConfig]) -> Iterator[Disagreement]:
    """The targets of a laboratory system's orders are channels of analyzers, or groups of them."""
    known = {*of_analyzers, *(group for orders in of_analyzers.values() for group in orders.groups)}
    for name, channel in channels.items():
        lis = lis_of(channel)
        for at, target in enumerate((lis.targets or ()) if lis is not None else ()):
            if target not in known:
                hint = closest(target, known) or "; name a channel that has orders:, or its group"
                yield Disagreement(name, ("lis", "targets", at), 2, f"unknown channel '{target}'{hint}")


def _groups(channels: Mapping[str, ChannelConfig], of_analyzers: Mapping[str, OrdersConfig]) -> Iterator[Disagreement]:
    """A group has a name of its own: an order for the channel of that name would be for the rest of the group, too."""
    for name, orders in of_analyzers.items():
        if orders.group in channels:
            yield Disagreement(
                name, ("orders", "group"), 2, f"'{orders.group}' is a channel; give the group another name"
            )


def _tests(channels: Mapping[str, ChannelConfig], of_analyzers: Mapping[str, OrdersConfig]) -> Iterator[Disagreement]:
    """The tests in the tables of a laboratory system are tests of an analyzer here."""
    run_here = {test for orders in of_analyzers.values() for test in orders.codes}
    is_known = all(orders.codes for orders in of_analyzers.values())  # else a table of results has some of them
    for name, channel in channels.items():
        if (lis := lis_of(channel)) is None:
            continue
        codes, panels = lis.codes, lis.panels or {}
        for code, test in (codes or {}).items():
            if is_known and test not in run_here:
                yield _rejected(name, ("lis", "codes", code), f"no analyzer here runs {test}")
        for panel, tests in panels.items():
            for at, test in enumerate(tests):
                path = ("lis", "panels", panel, at)
                if test in panels:
                    yield Disagreement(name, path, 3, f"'{test}' is a panel, and is not taken apart; name its tests")
                elif codes is not None and test not in codes:
                    yield _rejected(name, path, f"codes: has no {test}")
                elif codes is None and is_known and test not in run_here:
                    yield _rejected(name, path, f"no analyzer here runs {test}")


def _reflexes(of_analyzers: Mapping[str, OrdersConfig]) -> Iterator[Disagreement]:
    """A test that a result adds may add one more, on any analyzer, and that one none: it never leads back."""
    adds: dict[str, set[str]] = {}
    for orders in of_analyzers.values():
        for row in orders.reflex:
            adds.setdefault(row.test, set()).add(row.add)
    for name, orders in of_analyzers.items():
        for at, row in enumerate(orders.reflex):
            if third := sorted(adds.keys() & adds.get(row.add, set())):
                text = f"'{row.add}' adds {third[0]}, which adds a test, too: a result leads to two tests"
                yield Disagreement(name, ("orders", "reflex", at, "add"), 2, text)


def _rejected(channel: str, path: tuple[str | int, ...], text: str) -> Disagreement:
    return Disagreement(channel, path, 3, f"{text}: an order for it is rejected (UNKNOWN_TEST)", is_warning=True)


def _news(
    channels: Mapping[str, ChannelConfig], destinations: Mapping[str, DestinationConfig]
) -> Iterator[Disagreement]:
    """A laboratory system hears of orders that a channel brings."""
    known = [name for name, channel in channels.items() if channel.role == "orders"]
    for name, channel in channels.items():
        if (source := status_of(channel)) is None:
            continue
        for at, other in enumerate(source.of):
            if other not in known:
                hint = closest(other, known) or "; name a channel with role: orders"
                yield Disagreement(name, ("source", "of", at), 2, f"'{other}' brings no orders{hint}")
            elif source.answers and isinstance(channels[other].source, HttpPart):
                text = f"'{other}' is answered in the response of its requests; take answers out"
                yield Disagreement(name, ("source", "answers"), 2, text)
            elif source.tasks == "update":
                yield from _tasks(name, at, channel, other, channels[other].source, destinations)


def _tasks(
    name: str, at: int, channel: ChannelConfig, other: str, of: object, destinations: Mapping[str, DestinationConfig]
) -> Iterator[Disagreement]:
    """A Task is changed on the server that it was found on."""
    if not isinstance(of, FhirSearchPart) or of.search != "Task":
        text = f"'{other}' searches no Tasks (kind: fhir-search, search: Task); take tasks out"
        yield Disagreement(name, ("source", "tasks"), 2, text)
        return
    url = str(getattr(of, "url", "")).rstrip("/")
    for place, route in enumerate(channel.routes):
        for one in route.to or ():
            to = destinations.get(one)
            if isinstance(to, FhirDestination) and to.url.rstrip("/") != url:
                text = f"tasks: update needs the server that '{other}' searches; {one} has another url"
                yield Disagreement(name, ("routes", place, "to"), 3, text)


KEYS = KeyHelp(
    {
        "channels": (
            Block("`orders:`", [OrdersConfig]),
            Block("A row of `reflex:`", [ReflexRow]),
            Block("`lis:`", [LisConfig]),
        ),
        "sources": (Block("Changes of orders (`kind: order-status`)", [StatusPart], intro=False),),
    }
)
