"""How the Roche analyzers of the E1394 generation, and look-alikes, ask for orders.

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

from dataclasses import replace

from adapters.codecs.astm.habits import STAT_OR_ROUTINE, Habits

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
