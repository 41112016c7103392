"""The places of the values by which results of a list (CSV, JSON) are compared (`results:` of its mapping)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Where a list has what its results are compared by: names of columns (CSV), or ``list.member`` (JSON).

    Attributes:
        order: the number of the order or specimen. test: what was measured. sub: which of several of one test.
        value: the result itself; a result without any of these has no value. more: other parts that a receiver reads.
        columns, delimiter, header: how the lines of CSV are written; no columns: it is JSON.
    """

    order: str
    test: str
    value: tuple[str, ...]
    patient: str = ""
    sub: str = ""
    status: str = ""
    time: str = ""
    more: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    header: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """All columns or members that it names."""
        some = (self.order, self.test, self.patient, self.sub, self.status, self.time)
        return (*(name for name in some if name), *self.value, *self.more)
