"""Roche cobas 6800/8800: molecular tests over HL7 v2.5 OUL^R22, specimen first, without PID.

    OBX|1|ST|HIV^HIV^99ROC||ValueNotSet|||BT|||F            the call is in OBX-8
    OBX|3|ST|70241-5^HIV^LN|1/1|ValueNotSet|||RR|||F         part 1 of 2 of a result: its call
    OBX|4|ST|70241-5^HIV^LN|1/2|< Titer min|||""|||F         part 2: its titre, a quantity or words

Departures: ``ValueNotSet`` is no value. It is removed, so that the result has no value and keeps its call as the
interpretation. OBX-4 is part of what identifies each of the two. Calls other than those of table 0078 (BT) pass in
words. Cycle thresholds (S_OTHER) are supplemental and left out by the mapping.

Source: capture roche-cobas6800-hiv.
"""

from adapters.codecs.hl7v2.dialogues.law import Habits, Law
from adapters.dialects.shared.fields import clear
from engine.model.message import Parsed

VALUE = 5  # OBX-5
NOT_SET = "ValueNotSet"

HL7_DIALOGUE = Law(Habits(timing=False))


def adapt(parsed: Parsed) -> Parsed:
    clear(parsed, "OBX", VALUE, NOT_SET)
    return parsed
