"""HL7 v2 messages against HL7's own structures, by hl7apy: the errors that a strict receiver would find.

Mappings read more than the standard allows, since analyzers send more; this shows a vendor the errors. hl7apy's own
texts quote values; here places, tables and limits are reported, and no content of the message.
"""

import importlib
import re
import tempfile
from pathlib import Path
from typing import Any

_PLACE = r"[A-Z][A-Za-z0-9_.]*"
# hl7apy's sentences as rules without values; a sentence without a rule is reported by its first words only.
_SENTENCES = (
    (re.compile(rf"Missing required child ({_PLACE})"), "{0} is required"),
    (re.compile(rf"Child limit exceeded ({_PLACE})"), "{0} occurs too often"),
    (re.compile(rf"Exceeded max length \((\d+)\) of ({_PLACE})"), "{1} is longer than {0}"),
    (re.compile(rf"Value .* not in table HL7(\w+) in element ({_PLACE})", re.DOTALL), "{1} is not in table {0}"),
    (re.compile(rf"Datatype None is not correct for ({_PLACE})"), "{0} has parts that its type does not have"),
    (re.compile(rf"Datatype (\w+) is not correct for ({_PLACE})"), "{1} is of another type than {0}"),
    (
        re.compile(rf"Invalid children detected for <\w+ ({_PLACE})[^>]*>: \[([\w', ]*)\]"),
        "{1} does not belong into {0}",
    ),
    (re.compile(rf"Unknown element found: ({_PLACE})"), "{0} has an element that the standard does not know"),
    (re.compile(r"Invalid element found"), "has an element that the standard does not know"),
)


def departures(text: str) -> tuple[list[str], list[str]]:
    """(errors, warnings) of a decoded message, each once: ``OBX.OBX_11 is required``.

    An error is a structure that the standard does not allow, a warning a value that is too long or not in its table.
    """
    parser: Any = importlib.import_module("hl7apy.parser")
    consts: Any = importlib.import_module("hl7apy.consts")
    known: Any = importlib.import_module("hl7apy.exceptions")
    segments = "\r".join(line for line in re.split(r"\r\n|\r|\n", text) if line.strip())
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        try:
            message = parser.parse_message(segments + "\r", validation_level=consts.VALIDATION_LEVEL.TOLERANT)
            message.validate(report_file=str(report))
        except known.HL7apyException as error:
            if not report.is_file():  # it cannot be read at all
                return [f"hl7apy cannot read it ({type(error).__name__})"], []
        except AttributeError as error:
            if str(error) == "reference":  # it has parsed the message, and has no structure of this name to compare
                return ["HL7 has no structure of this name in this version (MSH-9, MSH-12)"], []
            return [f"hl7apy fails on it ({type(error).__name__})"], []
        except (KeyError, IndexError, TypeError, ValueError, RecursionError) as error:
            return [f"hl7apy fails on it ({type(error).__name__})"], []
        lines = report.read_text(encoding="utf-8").splitlines() if report.is_file() else []
    return _told(lines, "Error: "), _told(lines, "Warning: ")


def _told(lines: list[str], kind: str) -> list[str]:
    return list(dict.fromkeys(_without_values(line.removeprefix(kind)) for line in lines if line.startswith(kind)))


def _without_values(sentence: str) -> str:
    for pattern, words in _SENTENCES:
        if (match := pattern.search(sentence)) is not None:
            places = [group.replace("'", "") for group in match.groups()]
            if "None" in places[-1].split(", "):  # a value without a name at this place
                return f"{places[0]} has a field that this version does not have"
            return words.format(*places)
    return "departs from the standard in another way"
