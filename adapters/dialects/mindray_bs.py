"""Mindray BS chemistry analyzers (BS-200, BS-200E and relatives): HL7 v2.3.1 over MLLP, one message for each test.

    MSH|^~\\&|Mindray|BS-200E|||...||ORU^R01|1|P|2.3.1||||0||ASCII       MSH-16: 0 specimen, 1 calibration, 2 control
    PID|1|854||12|Tommy||19830719145307|F|A                             PID-2 patient, PID-4 the bed, PID-10 blood group
    OBR|1|0000000002|2|Mindray^BS-200E|Y||20070719145300||||||||serum   OBR-2 bar code, OBR-3 a counter, OBR-4 itself
    OBX|1|NM|2|test2|5.000000|g/ml|-||||F                               OBX-3 a number of the site, OBX-4 its name

Departures:
- MSH-16 shows what was measured (HL7 has no such numbers there). Calibrations and controls, whose values are in OBR,
  are marked as HL7 marks controls (MSH-11 is Q), so that they are filtered and never make a report without a patient.
And where OBR-4 says that it is a Mindray BS:
- A bed (PID-4) is no number of a patient: the next patient in it is another person. It is emptied.
- The specimen's number is its bar code; the counter after it restarts. The bar code goes into OBR-3.
- OBR-4 names the analyzer and would make one report of all tests of a tube, while each message brings one test. It
  becomes the test. The test's name goes beside its number, into OBX-3.2.

Sources: Mindray Host Interface Manual (P/N BA20-20-75337) for the BS series, as open specifications and drivers quote
it with its examples; no capture of one was seen.
"""

from adapters.codecs.hl7v2.dialogues.mindray import MindrayBs
from adapters.dialects.shared.fields import components, get, put, records
from engine.model.message import Parsed, Segment

PROCESSING, KIND = 11, 16  # MSH-11, MSH-16
BED = 4  # PID-4
BAR_CODE, COUNTER, SERVICE = 2, 3, 4  # OBR-2, OBR-3, OBR-4
TEST, TEST_NAME = 3, 4  # OBX-3, OBX-4
NO_SPECIMEN = ("1", "2")
CONTROL = "Q"

HL7_DIALOGUE = MindrayBs()


def adapt(parsed: Parsed) -> Parsed:
    header = parsed.segments[0]
    if get(header, KIND) in NO_SPECIMEN:
        put(header, PROCESSING, CONTROL)
        return parsed  # its OBR has other fields
    if not any(_names_itself(parsed, order) for order in records(parsed, "OBR")):
        return parsed
    order: Segment | None = None
    for segment in parsed.segments:
        if segment.name == "PID":
            put(segment, BED, "")
        elif segment.name == "OBR":
            order = segment
            if get(order, BAR_CODE):
                put(order, COUNTER, get(order, BAR_CODE))
                put(order, BAR_CODE, "")
        elif segment.name == "OBX":
            name = get(segment, TEST_NAME)
            if name and len(components(get(segment, TEST), parsed.delimiters)) == 1:
                put(segment, TEST, f"{get(segment, TEST)}{parsed.delimiters.component}{name}")
                put(segment, TEST_NAME, "")
            if order is not None and _names_itself(parsed, order):
                put(order, SERVICE, get(segment, TEST))
    return parsed


def _names_itself(parsed: Parsed, order: Segment) -> bool:
    """Whether OBR-4 is ``Mindray^BS-...``, the analyzer in the place of the test."""
    maker, *model = components(get(order, SERVICE), parsed.delimiters)
    return maker.upper() == "MINDRAY" and bool(model) and model[0].upper().startswith("BS")
