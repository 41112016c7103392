r"""Cepheid GeneXpert over E1394; delimiters are ``|@^\``.

    R|1|^^^HIVVL^Xpert HIV-1 Viral Load XC^3^^|DETECTED^1250|copies/mL|40.00 to 10000000.00|   the result: call ^ number
    R|2|^^^HIVVL^Xpert HIV-1 Viral Load XC^3^^LOG|^3.10|copies/mL|1.60 to 7.00|                its logarithm
    R|3|^^^HIVVL^^^HIV-1^|POS^|||                                                              an analyte
    R|4|^^^HIVVL^^^HIV-1^Ct|^38.4|||                                                           a part of it

    O|1|S1||^^^COVFLURSVPLUS                                                                   an assay of four results
    R|1|^COVFLURSVPLUS^^SARSCOV2^Xpress ..^1^SARS-CoV-2^|POSITIVE^|||||F                       one of them
    R|8|^COVFLURSVPLUS^^FLUA^Xpress ..^1^Flu A^|NEGATIVE^|||||F                                another one

Analytes and their parts are results of their own with codes of their own (``HIVVL/HIV-1/Ct``); nothing of that is done
here. A result whose R-3 names the assay of O-5 in component 2 is of the order for that assay. The pack declares to the
mapping that R-4 is a call and a number (``r4: call^value``). Departures:

- A value of ``^`` alone is none. A call that says there is no result (ERROR, INVALID, NO RESULT, also with words after
  it) wins over a number: the part after it is left out, so that ``ERROR^0`` is never 0. The channel's setting
  ``no_result`` makes a reason of the word. Systems of other languages have other words (``ERREUR^0``), so a zero after
  any call is left out: no viral load is measured as zero.
- Systems set to French write ``40,00 to 10000000,00``. Where a number of a message has a comma and one or two digits
  behind it, the comma is the decimal point in the whole message. ``1,250`` alone proves nothing and stays as it is.
- A record that lost its middle (fields 6 to 13 run into one: ``10.00 to...114709``, with the instrument behind it)
  keeps its code, value and unit. The ruins of the range go, the instrument goes from R-7 to R-14 where it belongs, and
  a warning says so: an instrument is no abnormal flag.
- The range of a viral load is what the assay can measure, not what is normal: its logarithm has the same range in
  logarithms, and the flag ``<`` (off the scale) goes with a value below it. It says so, and is no range to compare
  with.
- Comments are divided (``Error^2097^Operation terminated^...``, ``Notes^^...``): their parts become one sentence.
- P-6 of ``^^^^`` is no name.

Sources: GeneXpert LIS Interface Protocol Specification 302-2261 (as the driver senaite.astm, genexpert.py, names its
fields); captures cepheid-genexpert-mtb, -hbv, -french-latin1, -french-utf8; the maker's examples cepheid-guidance-*.
"""

import re
from collections.abc import Iterator

from adapters.codecs.astm.habits import STAT_OR_ROUTINE, Habits
from adapters.dialects.shared.fields import components, get, is_blank, put, records
from engine.model.message import Delimiters, Issue, Parsed, Segment

DIALOGUE = Habits(
    asks_alone=True,
    assay_at=2,
    delimiters="|@^\\",
    together=False,
    one_message=True,
    new="A",
    types={"ORH": "ORH"},
    other_type="ORH",
    requested=True,
    priorities=STAT_OR_ROUTINE,
)
NAME = 6  # P-6
VALUE, RANGE, FLAGS, INSTRUMENT = 4, 6, 7, 14
TEXT = 4  # C-4
NO_RESULT = ("ERROR", "INVALID", "NO RESULT")

_ZERO = re.compile(r"0+(?:[.,]0*)?", re.ASCII).fullmatch
_COMMA = re.compile(r"(?<![0-9,.])([0-9]+),([0-9]+)(?![0-9,.])", re.ASCII)
_SURE_COMMA = re.compile(r"(?<![0-9,.])[0-9]+,[0-9]{1,2}(?![0-9,.])", re.ASCII)
_NUMBERS_ONLY = re.compile(r"[-<>=^\s0-9,.]*|[0-9,.]*\s*to\s*[0-9,.]*", re.ASCII).fullmatch
# system ^ instrument ^ module ^ cartridge ^ reagent lot ^ expiry
_AN_INSTRUMENT = re.compile(r"[^^]+\^[0-9]+\^[0-9]+\^[0-9]+\^[0-9]+\^[0-9]{8}", re.ASCII).fullmatch


def adapt(parsed: Parsed) -> Parsed:
    for patient in records(parsed, "P"):
        if is_blank(get(patient, NAME), parsed.delimiters):
            put(patient, NAME, "")
    results = list(records(parsed, "R"))
    for record in results:
        _mend_cut(record, parsed)
    if any(_SURE_COMMA.search(text) for record in results for text in _numbers(record)):
        for record in results:
            for number in (VALUE, RANGE):
                call, text = _divided(get(record, number), number)
                if _NUMBERS_ONLY(text):
                    put(record, number, call + _COMMA.sub(r"\1.\2", text))
    for record in results:
        _read_value(record, parsed)
        if get(record, RANGE):
            put(record, RANGE, f"measuring range {get(record, RANGE)}")
    for comment in records(parsed, "C"):
        put(comment, TEXT, sentence(get(comment, TEXT), parsed.delimiters))
    return parsed


def sentence(comment: str, delimiters: Delimiters) -> str:
    """The parts of a comment, without the word that only says what kind it is."""
    parts = [part for part in components(comment, delimiters) if part]
    return ", ".join(parts[1:] if len(parts) > 1 and parts[0] == "Notes" else parts)


def outweighs(call: str, rest: list[str]) -> bool:
    """Whether a call overrides the part after it: it says that there is no result, or the part is a zero."""
    words = " ".join(call.split()).upper()
    if any(words == none or re.match(rf"{none}\W", words) for none in NO_RESULT):
        return True
    return bool(words) and len(rest) == 1 and _ZERO(rest[0]) is not None


def _numbers(record: Segment) -> Iterator[str]:
    for number in (VALUE, RANGE):
        _, text = _divided(get(record, number), number)
        if _NUMBERS_ONLY(text):
            yield text


def _divided(text: str, number: int) -> tuple[str, str]:
    """A field as the call before its number, with the delimiter, and the number."""
    call, found, behind = text.partition("^")
    return (call + found, behind) if number == VALUE and found else ("", text)


def _mend_cut(record: Segment, parsed: Parsed) -> None:
    if "..." not in get(record, RANGE) or not _AN_INSTRUMENT(get(record, FLAGS)):
        return
    put(record, INSTRUMENT, get(record, FLAGS))
    put(record, FLAGS, "")
    put(record, RANGE, "")
    parsed.warnings.append(
        Issue(
            code="cut-record",
            text="the middle of a result is missing: range, flags, status and times of it are not known",
            place=f"R[{record.ordinal}]",
        )
    )


def _read_value(record: Segment, parsed: Parsed) -> None:
    value = get(record, VALUE)
    call, *rest = components(value, parsed.delimiters)
    if is_blank(value, parsed.delimiters):
        put(record, VALUE, "")
    elif outweighs(call, rest):
        put(record, VALUE, call)
