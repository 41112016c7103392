"""Schema steps that no release has: a column with a value, a table, another index, a column that may be empty."""

from engine.store.core import connecting

_MADE_UP = (
    "ALTER TABLE lane ADD COLUMN colour TEXT NOT NULL DEFAULT 'red';\nUPDATE lane SET colour = channel;",
    "CREATE TABLE made_up (id INTEGER PRIMARY KEY);\nINSERT INTO made_up SELECT id FROM journal;\n"
    "DROP INDEX document_message;\nCREATE INDEX document_message ON document (message_id, revision);",
    "ALTER TABLE delivery ADD COLUMN weight INTEGER;\nUPDATE delivery SET weight = id WHERE state = 'delivered';",
)


def with_made_up_steps(more: int = len(_MADE_UP)) -> connecting.Steps:
    """The steps of this version, and so many made-up ones after them."""
    known = connecting.steps()
    return [*known, *enumerate(_MADE_UP[:more], known[-1][0] + 1)]
