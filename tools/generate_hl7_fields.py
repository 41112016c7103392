"""Write engine/mapping/hl7_fields.py: how many fields each HL7 v2 segment has.

    python tools/generate_hl7_fields.py

Source: the segment tables of HL7 v2.1 to v2.8.2 as the hl7apy package carries them; the highest number counts, since
senders use fields of later versions. The result is committed; nobody needs hl7apy to run LabRelay.
"""

from pathlib import Path

import hl7apy

OUTPUT = Path(__file__).parents[1] / "engine" / "mapping" / "hl7_fields.py"
HEAD = '''"""HL7 v2 segments and how many fields they have. Made by tools/generate_hl7_fields.py; do not edit.

Source: the segment tables of HL7 v2.1 to v2.8.2, the highest number of any version. Used where mappings are checked.
"""

_TABLE = """
'''
FOOT = '''"""

FIELD_COUNTS: dict[str, int] = {
    segment: int(count) for segment, count in (pair.split(":") for pair in _TABLE.split())
}
'''


def main() -> None:
    counts: dict[str, int] = {}
    for version in sorted(hl7apy.SUPPORTED_LIBRARIES):
        for name, definition in hl7apy.load_library(version).SEGMENTS.items():
            fields = definition[1] if len(definition) > 1 and isinstance(definition[1], tuple) else ()
            names = [field[0] for field in fields if isinstance(field, tuple) and isinstance(field[0], str)]
            numbers = [int(field.rsplit("_", 1)[1]) for field in names if field.startswith(f"{name}_")]
            if len(name) == 3 and numbers:
                counts[name] = max(counts.get(name, 0), *numbers)
    lines, line = [], ""
    for name, count in sorted(counts.items()):
        word = f"{name}:{count}"
        if len(line) + len(word) >= 118:
            lines.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    OUTPUT.write_text(HEAD + "\n".join([*lines, line]) + "\n" + FOOT, encoding="utf-8")


if __name__ == "__main__":
    main()
