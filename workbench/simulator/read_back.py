"""Whether the dialect of an analyzer reads new messages as it reads the samples. Without a dialect they are alike.

A dialect that reads the specimen's number, or times, as its standard does not, and does not declare it, would read new
patients beside the sample's specimen, and dates that there are not, or those of the sample.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from engine.config import registry
from engine.model.errors import LabRelayError
from engine.model.message import FormatOptions, Parsed
from workbench.simulator.packs import Model
from workbench.simulator.shift import shift

FORMAT_OF = {"mllp": "hl7v2", "e1381": "astm"}
NUMBERS = {"O": (3, 4), "OBR": (3, 2), "SPM": (2,)}  # the first field that has one
TIMES = {
    "O": (7, 8, 15, 23),
    "R": (12, 13),
    "P": (8,),
    "OBR": (6, 7, 14, 22),
    "SPM": (17, 18),
    "OBX": (14, 19),
    "PID": (7,),
}
ANOTHER_DAY = timedelta(days=7)  # so that a time of today, too, is another in the new message


def check(model: Model, at: datetime) -> None:
    """Make a message like each sample, and read it.

    Raises:
        LabRelayError: the dialect reads other numbers or times than the message was given.
    """
    if not model.dialect or model.link not in FORMAT_OF:
        return
    for sample in model.results:
        alone = replace(model, results=(sample,))
        (new,) = shift(alone, seed=1, start=at + ANOTHER_DAY, specimens=1, again=False)
        was, now = _read(model, sample.text.encode(sample.charset)), _read(model, new.payload)
        declares = f"adapters/dialects/{model.dialect.replace('-', '_')}.py declares with"
        if any(not any(made in read or read in made for made in new.numbers) for read in _numbers(now)):
            raise LabRelayError(
                f"dialect '{model.dialect}' does not read the new specimen's number in a message like {sample.name}: "
                f"{declares} WRITES_NUMBERS where the analyzer writes it"
            )
        times = zip(_times(was), _times(now), strict=False)
        if any(_is_time(old) and (old == new_time or not _is_time(new_time)) for old, new_time in times):
            raise LabRelayError(
                f"dialect '{model.dialect}' does not read the new times in a message like {sample.name}: "
                f"{declares} WRITES_TIMES how the analyzer writes them"
            )


def _read(model: Model, payload: bytes) -> Parsed:
    codec = registry.load(registry.FORMATS, FORMAT_OF[model.link])
    parsed: Parsed = registry.dialect(model.dialect).adapt(codec.parse(payload, FormatOptions(("utf-8", "latin-1"))))
    return parsed


def _numbers(parsed: Parsed) -> Iterator[str]:
    """The number of each specimen or order."""
    for record in parsed.segments:
        parts = [
            part.strip()
            for at in NUMBERS.get(record.name, ())
            for part in record.get(at).split(parsed.delimiters.component)
        ]
        yield from [part for part in parts if part][:1]


def _times(parsed: Parsed) -> Iterator[str]:
    for record in parsed.segments:
        yield from (record.get(at).strip() for at in TIMES.get(record.name, ()))


def _is_time(text: str) -> bool:
    """Whether it begins with a date as the standards have it."""
    try:
        return bool(datetime.strptime(text[:8], "%Y%m%d"))
    except ValueError:
        return False
