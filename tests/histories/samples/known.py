"""Faults that are known: each history here still breaks these questions and no other. What is mended leaves.

Traps (`lives.py`) are numbered by the fault that they are for. Mended, and so in no table:

     1  a withdrawal that finds nothing leaves the wrong result final
     2  a correction that finds nothing leaves the wrong result beside the right one
     3  samples of several times under one order number are versions of one result
     4  what a person has rejected or closed goes out when it comes with another control id
     5  a pool or a control is a patient's
     6  a document whose results are all withdrawn is not withdrawn
     7  growth stays beside no growth
    10  a result of a clock that is wrong by a year goes out with its time, unsaid
    12  a critical value in a rejected part of its message rings on
"""

from tests.histories.samples.oracle import Finding

FAULTS: dict[int, str] = {}
KNOWN: tuple[tuple[int, int, str], ...] = ()  # seed, fault, questions

MENDED = (
    *(38, 54, 126, 317, 601),  # of critical values
    *(374, 958, 1324, 2019, 131, 1774, 2552, 2617, 4134, 0, 186, 3, 17, 28, 36, 235, 20, 176, 78, 619),  # of FHIR, ABDM
    *(8, 15, 401, 2024000217),  # of a tube of two patients
    *(413, 641, 168, 2819, 37, 41, 40, 141, 61, 179, 381),  # of lists and HL7 v2
    *(1664, 1414, 97),  # of copies
)
PLAYED = tuple(sorted({*range(32), *MENDED, *(seed for seed, _, _ in KNOWN)}))
"""With histories that break nothing."""


def is_known(fault: int, finding: Finding) -> bool:
    """Of a history that is in no table, whether its trap is known for this."""
    return any(number == fault and finding.question in questions for _, number, questions in KNOWN)
