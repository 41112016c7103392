"""The fields with a message's times and patient: ids and the journal's record of persons are made of them.

A mapping that reads a time, a name or a birth date from other fields than its standard declares them (``identity:``).
Ids follow these fields and not the rules: otherwise a correction of the next day would have other ids than the result.

    identity: {order_time: [O-9, O-8], result_time: R-10}     of several fields the first that holds a time counts
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IdentityFields:
    """Numbers of fields. Those of times: the first that holds one counts.

    Attributes:
        order, result, person: segments that have these fields.
        order_time: when an order's specimen was taken or measured: its day is part of ids.
        result_time: of a result; the first result's counts where the order has no time.
        order_number: the first that holds one is part of a Patient's key where the patient number is a counter.
        name, birth_date, sex: of the person with a patient number.
    """

    order: str
    result: str
    person: str
    order_time: tuple[int, ...]
    result_time: tuple[int, ...]
    name: int
    birth_date: int
    sex: int
    order_number: tuple[int, ...]


STANDARD = {
    "hl7v2": IdentityFields("OBR", "OBX", "PID", (7,), (14,), 5, 7, 8, (3, 2)),
    "astm": IdentityFields("O", "R", "P", (8,), (13, 12), 6, 8, 9, (3, 4)),
    "json": IdentityFields("", "", "", (), (), 0, 0, 0, ()),  # no ids are made of it
}
