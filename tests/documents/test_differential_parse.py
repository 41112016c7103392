"""HL7 v2 through second parsers (T17): samples, made-up messages and the fuzzer's inputs must be the same fields there.

The corpus of real messages goes the same way in `tests/adapters/codecs/hl7v2/test_hl7v2_corpus.py`, to hl7apy as well,
with the differences of that parser explained in its lists.
"""

import random
import re
from collections import Counter
from pathlib import Path

import hl7
import pytest

from adapters.codecs.hl7v2.message import parse, split
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Parsed
from tests.fuzz.kept import as_line, kept, seeds
from workbench.bench.messages import oru

SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*/*.hl7"))
OPTIONS = FormatOptions(charsets=("utf-8", "cp1252"))

# What python-hl7 reads otherwise, and why ours is right. Nothing else may differ.
EXPLAINED = {
    "control characters": "no FHIR string may hold them; ours has U+FFFD in their place, and says so in a warning",
    "blanks around a segment name": "python-hl7 keeps them in the name, and then finds no such segment; ours warns",
    "first segment": "python-hl7 wants MSH, FHS or BHS as the first bytes; ours skips blanks and zero bytes before it",
}
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


def as_python_hl7_wants(parsed: Parsed, payload: bytes) -> str:
    """The text with CR line ends and no empty lines, by other means than ours."""
    text = payload.decode(parsed.charset).removeprefix("\ufeff")
    return "".join(line + "\r" for line in re.split(r"\r\n|\r|\n", text) if line.strip(" \t\x00\x1a\ufffd"))


def difference(payload: bytes) -> str:
    """Empty where both parsers read the same, ``refused`` where ours takes nothing, else which difference it is."""
    try:
        parsed = parse(payload, OPTIONS)
    except ContentError:
        return "refused"
    ours = [segment.fields for segment in parsed.segments]
    try:
        theirs = [[str(part) for part in segment] for segment in hl7.parse(as_python_hl7_wants(parsed, payload))]
    except hl7.ParseException as error:
        if "First segment" not in str(error):
            raise
        return "first segment"
    if ours == theirs:
        return ""
    assert len(ours) == len(theirs), "not the same segments"
    named = [[their[0].strip(" \t\x00\x1a\ufffd"), *their[1:]] for their in theirs]
    cleaned = [[_CONTROLS.sub("\ufffd", text) for text in fields] for fields in named]
    if cleaned[-1] != ours[-1]:  # what pads the end of a message is no part of its last field
        cleaned[-1][-1] = cleaned[-1][-1].rstrip("\ufffd")
        ours[-1][-1] = ours[-1][-1].rstrip("\ufffd")
    assert ours == cleaned, "a difference that nobody has explained"
    return "control characters" if named == theirs else "blanks around a segment name"


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_sample_is_the_same_there(file: Path) -> None:
    payloads = split(file.read_bytes())
    assert payloads
    assert [difference(payload) for payload in payloads] == [""] * len(payloads)


def test_made_up_messages_are_the_same_there() -> None:
    for number in range(50):
        assert difference(oru(1, number, random.Random(number))) == ""


def test_hostile_messages_are_the_same_there_or_differ_as_explained() -> None:
    found: Counter[str] = Counter()
    for data in (*kept("hl7"), *seeds("hl7")):
        for payload in split(data[2:]):
            try:
                found[difference(payload)] += 1
            except AssertionError as error:
                error.add_note(as_line(data))
                raise
    assert found[""] > 20  # else nothing has been compared
    assert found.keys() - {"", "refused"} <= EXPLAINED.keys()
