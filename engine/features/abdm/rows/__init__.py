"""What the laboratory has to do with ABDM, India's network of health records. Operations of a writer's batch, and
functions that a flow calls within one (`engine.features.abdm`).

calls        calls to the gateway, journaled before they go out, and their ends; what was noted while a clock was ahead
callbacks    what the gateway sends, verbatim, and the one place where it becomes state
patients     patients of the network, and their link tokens
contexts     care contexts: reports that the network may ask for
offers       links that patients make: what their apps were offered, and codes by SMS
consents     consents of patients, and what goes of them and of transfers
transfers    requests for records, and their encrypted pages
shares       tokens of patients who have shared their profile; the laboratory system hears of them
invitations  SMS to patients without ABHA: the one of each report
leaving      what goes when a patient has left the network
forgetting   what goes, by its age, by retention and by an erasure
sealing      how the rows above hide what names a patient

A row that names a patient is sealed as all notes of the journal are; keyed hashes find it.

The tables of ABDM in the journal, how each comes back with a backup, and how one row changes.
"""

from typing import Any

from engine.feature import Table
from engine.store.core.writing.batch import Batch


def _changed(name: str, *sealed: str) -> Table:
    """A table whose rows each have the time of their last change; ``sealed``: its sealed columns."""
    return Table(
        name=name,
        copied=f"SELECT * FROM main.{name} WHERE changed_us >= :since",  # noqa: S608 - constants
        newest="changed_us",
        sealed=_opened(name, sealed),
        unit="0",  # a patient's care contexts are of the whole site
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
        name="abdm_request", copied="SELECT r.* FROM state.abdm_call c JOIN main.abdm_request r ON r.call = c.number"
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
