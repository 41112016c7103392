"""What holds for every dialect: whatever stands in the fields, it raises nothing and loses no record."""

import re
from pathlib import Path
from random import Random

import pytest
import yaml

from engine.config import registry
from engine.config.pack import find_pack
from engine.model.errors import ContentError
from engine.model.message import FormatOptions, Group, Parsed, Segment
from tests.support.astm_dialogues import SPOKEN

SAMPLES = Path(__file__).parents[3] / "samples"
FORMATS = {".hl7": "hl7v2", ".astm": "astm"}
OPTIONS = FormatOptions()
JUNK = (
    "",
    "^",
    "^^^^^",
    "\\",
    "~",
    "&",
    "|",
    "-1^",
    "0^0",
    "1,5^2,5",
    "...",
    "Q",
    "X\\Q",
    "9" * 40,
    "Ω",
    "ValueNotSet",
)


def _samples() -> dict[str, list[Path]]:
    """The sample messages of each dialect."""
    found: dict[str, list[Path]] = {}
    for settings in SAMPLES.glob("*/settings.yaml"):
        channel = yaml.safe_load(settings.read_text(encoding="utf-8"))
        name = channel.get("analyzer")
        dialect = find_pack(name).config.gives.dialect if name else channel.get("dialect")
        if dialect is not None:
            found.setdefault(dialect, []).extend(path for path in settings.parent.iterdir() if path.suffix in FORMATS)
    return found


MESSAGES = _samples()
ASKS = {one.dialect for one in SPOKEN}
each_dialect = pytest.mark.parametrize("name", registry.dialects())


def _in_tree(group: Group) -> list[Segment]:
    own = [segment for found in group.segments.values() for segment in found]
    return own + [segment for found in group.groups.values() for inner in found for segment in _in_tree(inner)]


def _damaged(text: str, random: Random) -> str:
    lines = re.split(r"[\r\n]+", text.strip())
    for _ in range(random.randint(1, 8)):
        at = random.randrange(1, len(lines))
        fields = lines[at].split("|")
        match random.randrange(3):
            case 0:
                fields[random.randrange(1, len(fields) + 1) - 1] = random.choice(JUNK)
            case 1:
                fields = fields[: random.randrange(1, len(fields) + 1)]
            case _:
                fields += [random.choice(JUNK)] * random.randint(1, 12)
        lines[at] = "|".join(fields)
    return "\r".join(lines)


@each_dialect
def test_it_belongs_to_a_pack_that_has_samples_and_names_its_sources(name: str) -> None:
    file = f"adapters/dialects/{name.replace('-', '_')}.py"
    asks_only = name in ASKS and "Departures: none in results" in (registry.dialect(name).__doc__ or "")
    assert MESSAGES.get(name) or asks_only, (
        f"{file}: add `dialect: {name}` under gives: of its analyzers/NAME/pack.yaml, and a message in samples/NAME/, "
        "whose settings.yaml says `analyzer: NAME`; or, where it leaves results as they are, its dialogue in "
        "tests/support/astm_dialogues.py"
    )
    text = registry.dialect(name).__doc__ or ""
    assert re.search(r"^Sources?: ", text, re.MULTILINE), f"{file}: add a line `Source: ...` to its docstring"


@each_dialect
def test_whatever_stands_in_the_fields_no_record_is_lost(name: str) -> None:
    dialect, random = registry.dialect(name), Random(7)
    for path in MESSAGES.get(name, ()):
        codec = registry.load(registry.FORMATS, FORMATS[path.suffix])
        for _ in range(120):
            payload = _damaged(path.read_text(encoding="utf-8"), random).encode()
            try:
                before: Parsed = codec.parse(payload, OPTIONS)
            except ContentError:
                continue
            records = [(one.name, one.position) for one in before.segments]
            after: Parsed = dialect.adapt(before)
            assert [(one.name, one.position) for one in after.segments] == records
            assert {id(one) for one in _in_tree(after.root)} == {id(one) for one in after.segments}


@each_dialect
def test_adapting_twice_changes_no_more_numbers(name: str) -> None:
    """A value that was put right is right: what is read of R-4 or OBX-5 stays the same the second time."""
    dialect = registry.dialect(name)
    for path in MESSAGES.get(name, ()):
        codec = registry.load(registry.FORMATS, FORMATS[path.suffix])
        once: Parsed = dialect.adapt(codec.parse(path.read_bytes(), OPTIONS))
        values = [list(one.fields)[4:6] for one in once.segments if one.name in ("R", "OBX")]
        twice: Parsed = dialect.adapt(once)
        assert [list(one.fields)[4:6] for one in twice.segments if one.name in ("R", "OBX")] == values
