"""Cepheid GeneXpert over HL7 v2.5 (ORU^R32; SPM behind the results).

    OBX|1|ST|HIVVL&HIVVL&Xpert HIV-1 Viral Load&1||DETECTED^1250|copies/mL|...     call ^ number
    OBX|9|ST|CTNG&CT|SPC&Ct|^31.3||                                                 a number alone
    OBX|5|ST|CTNG&CT|SAC|NA^|||                                                     a word alone

Departures: OBX-5 of type ST holds two things. Where there is a number, it becomes the value (type NM) and the call
one of the flags (OBX-8), in words; a word alone loses its delimiter. A call that says there is no result (ERROR,
INVALID, NO RESULT) wins over a number behind it, and any call over a zero, so that ``ERROR^0`` is never 0; the
channel's setting ``no_result`` makes a reason of it. As over ASTM a range is the measuring range, and a divided comment
becomes one sentence.

OBX-18 lists expiry, lot and number of the cartridge before the module, the instrument and the name of the system (R-14
over ASTM has the same six the other way round). The first is taken for the device, so the instrument comes before the
six here.

The code of a result is divided (``panel & test & assay``, and the analyte in OBX-4); the shipped mapping knows that.

Sources: GeneXpert LIS Interface Protocol Specification 301-2002; the maker's example cepheid-genexpert-oru-r32. No
example of it shows a quantity beside a call over HL7: that layout is the one of R-4 over ASTM, which the maker's
examples show.
"""

import re

from adapters.codecs.hl7v2.dialogues.genexpert import GeneXpert
from adapters.dialects.cepheid_genexpert import outweighs, sentence
from adapters.dialects.shared.fields import components, get, is_blank, put, records, repetitions
from engine.model.message import Delimiters, Parsed, Segment

KIND, VALUE, RANGE, FLAGS = 2, 5, 7, 8  # OBX-2, OBX-5, OBX-7, OBX-8
COMMENT, DEVICES = 3, 18  # NTE-3, OBX-18

HL7_DIALOGUE = GeneXpert()

_EXPIRY = re.compile(r"[0-9]{8}", re.ASCII).fullmatch
_NUMBER = re.compile(r"[<>]?=?\s*-?[0-9]+(?:\.[0-9]+)?", re.ASCII).fullmatch


def adapt(parsed: Parsed) -> Parsed:
    delimiters = parsed.delimiters
    for note in records(parsed, "NTE"):
        put(note, COMMENT, sentence(get(note, COMMENT), delimiters))
    for record in records(parsed, "OBX"):
        _name_instrument(record, delimiters)
        if get(record, KIND) != "ST":
            continue
        if get(record, RANGE):
            put(record, RANGE, f"measuring range {get(record, RANGE)}")
        value = get(record, VALUE)
        call, *rest = components(value, delimiters)
        if is_blank(value, delimiters):
            put(record, VALUE, "")
        elif len(rest) != 1:
            continue
        elif not rest[0] or outweighs(call, rest):
            put(record, VALUE, call)
        elif _NUMBER(rest[0]):
            put(record, KIND, "NM")
            put(record, VALUE, rest[0])
            flags = get(record, FLAGS)
            put(record, FLAGS, delimiters.repetition.join(part for part in (flags, call) if part))
    return parsed


def _name_instrument(record: Segment, delimiters: Delimiters) -> None:
    listed = repetitions(get(record, DEVICES), delimiters)
    if len(listed) == 6 and _EXPIRY(listed[0]) and listed[4]:
        put(record, DEVICES, delimiters.repetition.join([listed[4], *listed]))
