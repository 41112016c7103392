"""The fields of each E1394 record by number, for lint, `explain` and the pages: `fields.txt`.

``FIELDS["R"][4]`` names R-4, ``FIELDS["R"][0]`` the record.
"""

from engine.model.tables import table_lines


def _read() -> dict[str, tuple[str, ...]]:
    records: dict[str, list[str]] = {}
    for line in table_lines(__file__, "fields.txt"):
        place, _, name = line.partition(" ")
        records.setdefault(place.partition("-")[0], []).append(name)
    return {record: tuple(names) for record, names in records.items()}


FIELDS: dict[str, tuple[str, ...]] = _read()
