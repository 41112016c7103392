"""Names of fields and components as the standards have them: HL7 v2 (`PID-3.1`: ID number), ASTM E1394 (`O-3`)."""

from functools import cache

from engine.model.tables import table_lines

HL7 = "hl7v2"


def name_of(message_format: str, segment: str, field: int, component: int = 0) -> str:
    """In English; empty where the standard has none.

    Args:
        component: 0: of the field itself.
    """
    if message_format != HL7:
        return "" if component else _part("astm", segment, field)
    kind, _, name = _part("hl7", segment, field).partition(" ")
    if not component:
        return name
    return _part("hl7", f"={kind}", component).partition(" ")[2]


def _part(table: str, line: str, number: int) -> str:
    parts = _lines(table).get(line, "").split("|")
    return parts[number - 1] if 0 < number <= len(parts) else ""


@cache
def _lines(table: str) -> dict[str, str]:
    split = (line.partition("|") for line in table_lines(__file__, f"data/{table}_names.txt"))
    return {name: rest for name, _, rest in split}
