"""Worklists for paper: the waiting orders of each analyzer, tube by tube, by the analyzer's own codes. Pure.

An order is on the sheet of each analyzer that would get it if it asked now; where these are several, each sheet names
the others. Orders for which no analyzer has a code are on a sheet without a name.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from engine.model.orders import OrderedPatient, WorkItem
from engine.model.values import value

MOST = 2_000  # orders of all sheets


@value()
class SheetTest:
    """
    Attributes:
        code: of the analyzer; empty on the sheet without a name.
        also: other analyzers that have it on their sheet.
    """

    item: WorkItem
    code: str
    also: tuple[str, ...] = ()


@value()
class SheetTube:
    """Orders of one specimen number and one patient."""

    specimen: str
    patient: OrderedPatient
    tests: tuple[SheetTest, ...]

    @property
    def is_urgent(self) -> bool:
        return any(one.item.line.priority == "stat" for one in self.tests)


@value()
class Sheet:
    """The tubes of one analyzer, urgent ones first, each group in the order of specimen numbers."""

    channel: str
    tubes: tuple[SheetTube, ...]


def sheets(found: Iterable[WorkItem], runners: Mapping[str, tuple[Mapping[str, str], frozenset[str]]]) -> list[Sheet]:
    """Sheets that are not empty, in the order of their names; that without a name is the last.

    Args:
        found: waiting orders.
        runners: channel -> its codes (of the LIS -> of the analyzer), and the groups that it is of.
    """
    made: dict[str, list[SheetTest]] = defaultdict(list)
    for one in found:
        if not one.line.specimen:  # erased
            continue
        able = [
            name
            for name, (codes, groups) in sorted(runners.items())
            if one.line.test in codes and _may(one, name, groups)
        ]
        for name in able or [""]:
            code = runners[name][0][one.line.test] if name else ""
            made[name].append(SheetTest(one, code, tuple(other for other in able if other != name)))
    return [Sheet(name, _tubes(made[name])) for name in sorted(made, key=lambda name: (not name, name))]


def _may(one: WorkItem, channel: str, groups: frozenset[str]) -> bool:
    return not one.targets or channel in one.targets or not groups.isdisjoint(one.targets)


def _tubes(tests: Sequence[SheetTest]) -> tuple[SheetTube, ...]:
    of_tube: dict[tuple[str, OrderedPatient], list[SheetTest]] = defaultdict(list)
    for test in sorted(tests, key=lambda test: test.item.number):
        of_tube[test.item.line.specimen, test.item.line.patient].append(test)
    tubes = [SheetTube(specimen, patient, tuple(tests)) for (specimen, patient), tests in of_tube.items()]
    return tuple(sorted(tubes, key=lambda tube: (not tube.is_urgent, tube.specimen, tube.tests[0].item.number)))
