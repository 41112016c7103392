"""The tables of ABDM in the journal, how each comes back with a backup, and how one row changes."""

from typing import Any

from engine.feature import Table
from engine.store.core.batch import Batch


def _changed(name: str, *sealed: str) -> Table:
    """A table whose rows each have the time of their last change; ``sealed``: its sealed columns."""
    return Table(
        name=name,
        copied=f"SELECT * FROM main.{name} WHERE changed_us >= :since",  # noqa: S608 - constants
        newest="changed_us",
        sealed=_opened(name, sealed),
    )


def _ends(name: str, *sealed: str) -> Table:
    """A table that a restore leaves: a patient begins again."""
    return Table(name=name, copied=None, sealed=_opened(name, sealed))


def _opened(name: str, columns: tuple[str, ...]) -> str:
    return " UNION ALL ".join(
        f"SELECT '{name} {one}', number, '', {one} FROM {name} WHERE {one} <> x''"  # noqa: S608 - constants
        for one in columns
    )


TABLES = (
    _changed("abdm_patient", "content"),
    Table(
        name="abdm_link_token",
        copied="SELECT number FROM state.abdm_patient",
        by="patient",
        sealed="SELECT 'abdm_link_token token', patient, '', token FROM abdm_link_token WHERE token <> x''",
    ),
    _changed("abdm_context", "content"),
    _changed("abdm_call", "content", "fault"),
    Table(
        name="abdm_request",
        copied="SELECT r.* FROM state.abdm_call c JOIN main.abdm_request r ON r.call = c.number",
    ),
    _changed("abdm_callback", "body"),
    _changed("abdm_consent", "content"),
    _changed("abdm_transfer", "content"),
    Table(
        name="abdm_page",
        copied="SELECT a.* FROM state.abdm_transfer t JOIN main.abdm_page a ON a.transfer = t.number",
        sealed="SELECT 'abdm_page body ' || n, transfer, '', body FROM abdm_page WHERE body <> x''",
    ),
    _changed("abdm_share", "content"),
    _changed("abdm_invitation"),
    _ends("abdm_offer", "content"),
    _ends("abdm_code", "content", "text"),
)


def change(batch: Batch, table: str, number: int, **columns: Any) -> None:
    """Write these columns of a row, and the time of its change."""
    named = ", ".join(f"{name} = ?" for name in columns)
    batch.execute(
        f"UPDATE {table} SET {named}, changed_us = ? WHERE number = ?",  # noqa: S608 - names in our own code
        (*columns.values(), batch.now_us, number),
    )
