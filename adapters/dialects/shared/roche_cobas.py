"""Common habits of the Roche analyzers of the E1394 generation (cobas c111, c311, e411).

    C|1|I|43|I              the comment of a result is the number of a data alarm, 0 where there is none
    O|...|X\\Q              the action code of a control may be a repetition: X measured, Q control
    20.0\\30.0   20.0^30.0   a reference range as two repetitions (c111) or two components (e411)

Sources: cobas e 411 Host Interface Manual 2.3 (test order record 12, result record 6, table 19: comment record), cobas
c 311 Host Interface Manual 1.3 (E-17), cobas c 111 Host Interface Manual 2.1 (result record 10.1.06); the captures
roche-c111, roche-c311 (which sends 0 for no alarm, where the manual leaves the record out) and roche-e411-multiframe.

How the Roche analyzers of the E1394 generation, and look-alikes, ask for orders.

    > H|\\^&|||cobas-e411^1|||||host|TSREQ^REAL|P|1     Q|1|^^0000000387^587^0^2^^S1^SC||ALL||||||||A     L|1|N
    < H|\\^&|||host^1|||||cobas-e411|TSDWN^REPLY|P|1
      P|1
      O|1|0000000387|587^0^2^^S1^SC|^^^10^1\\^^^40^1|R||20261120101500||||A||||1||||||||||O
      L|1|N

Q-3: number of the tube, sequence, rack, position, empty, kind of sample, container. O-4 repeats what follows the
number. O-16 is the kind: 1 serum or plasma, 2 urine, 3 cerebrospinal fluid, 4 supernatant, 5 other; it is that of the
order, else that of the question. "None" is the O record without tests. The analyzer stops at a test that it does not
know. Q-13 is ``A`` in ordinary questions of the captures, and ``O`` in others; ``A`` without a number takes a question
back.

A code of results has dilution and pre-dilution behind it (``8/1/not``, ``685/``); an order names the test alone, and
the dilution in its own component.

All records share a frame, and go on in the next one after 240 bytes; the Pentra 400 gets a frame for each record.

The c 111 gives the results of one tube again (H-11 ``RSREQ^REAL``, ``Q|1|^number||ALL||||||||F``). The others take that
question with sequence, rack and position alone, which are not known here.

Sources: capture roche-e411-query; cobas e 411 Host Interface Manual 2.3 (test order record); the public drivers of the
e 411, c 311, c 111 and c 501 (H7600).
"""

import re
from dataclasses import replace

from adapters.codecs.astm.habits import STAT_OR_ROUTINE, Habits
from adapters.dialects.shared.fields import components, get, groups, put, repetitions
from engine.model.message import Delimiters, Group, Parsed, Segment

COMMENT_TEXT = 4  # C-4
ACTION_CODE = 12  # O-12
RANGE = 6

_ALARM = re.compile(r"[0-9]{1,3}", re.ASCII).fullmatch
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?", re.ASCII).fullmatch


def name_alarms(result: Group, delimiters: Delimiters) -> None:
    """A bare number in the comment of a result can be taken for a value: say what it is. A text beside it stays."""
    for comment in result.segments.get("C", ()):
        number, *text = components(get(comment, COMMENT_TEXT), delimiters)
        if not _ALARM(number):
            continue
        words = ", ".join(part for part in text if part)
        if int(number) == 0 and not words:
            put(comment, COMMENT_TEXT, "")
        else:
            put(comment, COMMENT_TEXT, f"data alarm {number}: {words}" if words else f"data alarm {number}")


def join_range(result: Group, delimiters: Delimiters) -> None:
    """Low and high in two parts become one text, ``20.0-30.0``; anything else stays."""
    for record in result.segments.get("R", ()):
        sent = get(record, RANGE)
        for parts in (repetitions(sent, delimiters), components(sent, delimiters)):
            limits = [part.strip() for part in parts]
            if len(limits) == 2 and all(map(_NUMBER, limits)):
                put(record, RANGE, f"{limits[0]}-{limits[1]}")


def mark_control(order: Segment, delimiters: Delimiters, *, sample_type: str = "") -> None:
    """Q anywhere in the action code, or a sample type that says control, makes the action code plain ``Q``.

    Args:
        order: the O record.
        sample_type: as the order says it, where it says one.
    """
    codes = {code.strip() for code in repetitions(get(order, ACTION_CODE), delimiters)}
    if "Q" in codes or sample_type in ("QC", "CONTROL"):
        put(order, ACTION_CODE, "Q")


def adapt_results(parsed: Parsed) -> None:
    """Alarms and ranges of every result."""
    for result in groups(parsed, "RESULT"):
        name_alarms(result, parsed.delimiters)
        join_range(result, parsed.delimiters)


SERUM, URINE, SPINAL_FLUID = "1", "2", "3"
KINDS = {
    "SER": SERUM,
    "PLAS": SERUM,
    "SERUM": SERUM,
    "PLASMA": SERUM,
    "UR": URINE,
    "URINE": URINE,
    "CSF": SPINAL_FLUID,
    **{f"S{number}": str(number) for number in range(1, 6)},  # as a question has it
}

COBAS = Habits(
    asks_at=3,
    q13_a="barcode-only",
    named=False,
    timed=False,
    version=True,
    comment=("TSDWN^REPLY", "TSDWN^BATCH"),
    keeps=4,
    code_until="/",
    test="^^^{}^{x}",
    dilutions={"": ""},
    new="A",
    asked="O",
    types=KINDS,
    type_at=8,
    collected=True,
    priorities=STAT_OR_ROUTINE,
    pack="packed",
    end="N",
    none="order",
    no_order="O",
    none_end="N",
)
E411 = replace(COBAS, dilutions={"": "1", **{f"1:{by}": str(by) for by in (1, 2, 5, 10, 20, 50, 100, 400)}})
C111 = replace(
    COBAS, comment=("TSDWN^REAL", "TSDWN^BATCH"), dilutions={"": "A"}, fetches="F", fetch_comment="RSREQ^REAL"
)
PENTRA_400 = replace(COBAS, type_needed=True, pack="record", code_until="")
