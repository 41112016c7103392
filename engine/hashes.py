"""16-byte keyed hashes in one run of bytes, as a document's row keeps them and as they travel between processes.

conditional keys    16 each
reports             16 of the number, 16 of its patient (zeros where the message names none)
"""

from engine.message import Report

HASH_BYTES = 16
_NO_PATIENT = bytes(HASH_BYTES)


def split_hashes(packed: bytes) -> tuple[bytes, ...]:
    return tuple(packed[at : at + HASH_BYTES] for at in range(0, len(packed), HASH_BYTES))


def pack_reports(reports: tuple[Report, ...]) -> bytes:
    return b"".join(report.key + (report.patient or _NO_PATIENT) for report in reports)


def unpack_reports(packed: bytes) -> list[Report]:
    reports = []
    for at in range(0, len(packed), 2 * HASH_BYTES):
        middle = at + HASH_BYTES
        patient = packed[middle : middle + HASH_BYTES]
        reports.append(Report(packed[at:middle], b"" if patient == _NO_PATIENT else patient))
    return reports
