"""The store of the sandbox, in SQLite: every version of every resource, the search index, delivery keys.

    resource  one row per type and id: the current version, and the index terms it has
    history   one row per version, with the body as sent (plus id and meta)
    term      (type, parameter, code, system) -> resource; references and tokens alike
    delivery  how often each delivery key was accepted

One connection, no syncs: the sandbox may lose data in a power cut.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

SCHEMA = Path(__file__).with_name("schema.sql")

Term = tuple[str, str, str]  # parameter, code (or reference), system (or "")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a resource.

    Attributes:
        method: that made it: POST, PUT or DELETE.
        body: JSON; empty for a deletion.
    """

    type: str
    id: str
    version: int
    updated_us: int
    method: str
    body: bytes

    @property
    def deleted(self) -> bool:
        return self.method == "DELETE"


@dataclass(frozen=True, slots=True)
class Condition:
    """One search parameter: any of ``alternatives`` (code, system; None: any system) matches.

    Parameters with a name of their own in the table of resources: ``_id`` (code: the id), ``_lastUpdated`` (code:
    microseconds, system: the comparison in SQL).
    """

    name: str
    alternatives: tuple[tuple[str, str | None], ...]


class Store:
    """``folder`` None keeps everything in memory."""

    def __init__(self, folder: Path | None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        path = ":memory:" if folder is None else str(folder / "sandbox.sqlite3")
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = MEMORY")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA cache_size = -32000")
        self._db.executescript(SCHEMA.read_text(encoding="utf-8"))

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything written inside is kept, or nothing of it."""
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # -- reading -----------------------------------------------------------------------------------------------

    def version_of(self, kind: str, identity: str) -> tuple[int, bool] | None:
        """The current version number, and whether that is a deletion; None if there never was one."""
        row = self._db.execute(
            "SELECT version, deleted FROM resource WHERE type = ? AND id = ?", (kind, identity)
        ).fetchone()
        return (row[0], bool(row[1])) if row else None

    def read(self, kind: str, identity: str, version: int | None = None) -> Version | None:
        """A version, by default the current one."""
        row = self._db.execute(
            "SELECT h.version, h.updated_us, h.method, h.body FROM resource r JOIN history h"
            " ON h.number = r.number AND h.version = ifnull(?, r.version) WHERE r.type = ? AND r.id = ?",
            (version, kind, identity),
        ).fetchone()
        return Version(kind, identity, *row) if row else None

    def history(self, kind: str, identity: str) -> list[Version]:
        """All versions, the newest first."""
        rows = self._db.execute(
            "SELECT h.version, h.updated_us, h.method, h.body FROM resource r JOIN history h"
            " ON h.number = r.number WHERE r.type = ? AND r.id = ? ORDER BY h.version DESC",
            (kind, identity),
        )
        return [Version(kind, identity, *row) for row in rows]

    def find(self, kind: str, conditions: list[Condition], limit: int) -> list[str]:
        """Ids of the current resources that meet all conditions."""
        where, values = _where(kind, conditions)
        rows = self._db.execute(f"SELECT r.id FROM resource r WHERE {where} LIMIT ?", (*values, limit))  # noqa: S608
        return [row[0] for row in rows]

    def count(self, kind: str, conditions: list[Condition]) -> int:
        where, values = _where(kind, conditions)
        total: int = self._db.execute(f"SELECT count(*) FROM resource r WHERE {where}", values).fetchone()[0]  # noqa: S608
        return total

    def search(
        self, kind: str, conditions: list[Condition], *, newest_first: bool, limit: int, offset: int
    ) -> list[Version]:
        where, values = _where(kind, conditions)
        order = "DESC" if newest_first else "ASC"
        rows = self._db.execute(
            "SELECT r.id, h.version, h.updated_us, h.method, h.body FROM resource r JOIN history h"  # noqa: S608
            f" ON h.number = r.number AND h.version = r.version WHERE {where}"
            f" ORDER BY r.updated_us {order}, r.number {order} LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [Version(kind, *row) for row in rows]

    def totals(self) -> dict[str, int]:
        """Current resources by type."""
        rows = self._db.execute("SELECT type, count(*) FROM resource WHERE NOT deleted GROUP BY type ORDER BY type")
        return dict(rows.fetchall())

    # -- writing -----------------------------------------------------------------------------------------------

    def write(
        self,
        kind: str,
        identity: str,
        method: str,
        now_us: int,
        terms: list[Term],
        make_body: Callable[[int], bytes],
    ) -> int:
        """Add a version, and return its number.

        Args:
            terms: the index terms of the new version, sorted; none for a deletion.
            make_body: the body, given the version number.
        """
        row = self._db.execute(
            "SELECT number, version, terms FROM resource WHERE type = ? AND id = ?", (kind, identity)
        ).fetchone()
        packed, deleted = orjson.dumps(terms), method == "DELETE"
        if row is None:
            version = 1
            number = self._db.execute(
                "INSERT INTO resource (type, id, version, updated_us, deleted, terms) VALUES (?, ?, 1, ?, ?, ?)",
                (kind, identity, now_us, deleted, packed),
            ).lastrowid
        else:
            number, version = row[0], row[1] + 1
            self._db.execute(
                "UPDATE resource SET version = ?, updated_us = ?, deleted = ?, terms = ? WHERE number = ?",
                (version, now_us, deleted, packed, number),
            )
            if row[2] != packed:
                self._db.executemany(
                    "DELETE FROM term WHERE type = ? AND name = ? AND code = ? AND system = ? AND number = ?",
                    [(kind, *term, number) for term in orjson.loads(row[2])],
                )
        if row is None or row[2] != packed:
            self._db.executemany("INSERT INTO term VALUES (?, ?, ?, ?, ?)", [(kind, *term, number) for term in terms])
        self._db.execute(
            "INSERT INTO history VALUES (?, ?, ?, ?, ?)", (number, version, now_us, method, make_body(version))
        )
        return version

    def count_delivery(self, key: str) -> int:
        """Note that a transaction with this delivery key was accepted; returns how often, this time included."""
        times: int = self._db.execute(
            "INSERT INTO delivery VALUES (?, 1) ON CONFLICT (key) DO UPDATE SET times = times + 1 RETURNING times",
            (key,),
        ).fetchone()[0]
        return times

    def deliveries(self) -> dict[str, int]:
        """How often each delivery key was accepted."""
        return dict(self._db.execute("SELECT key, times FROM delivery").fetchall())

    def clear(self) -> None:
        """Forget everything."""
        with self.transaction():
            for table in ("resource", "history", "term", "delivery"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - names from the line above


def _where(kind: str, conditions: list[Condition]) -> tuple[str, list[object]]:
    clauses, values = ["r.type = ?", "NOT r.deleted"], [kind]
    for condition in conditions:
        alternatives = []
        for code, system in condition.alternatives:
            if condition.name == "_id":
                alternatives.append("r.id = ?")
                values.append(code)
            elif condition.name == "_lastUpdated":
                assert system in ("=", "<", "<=", ">", ">=")
                alternatives.append(f"r.updated_us {system} CAST(? AS INTEGER)")
                values.append(code)
            elif system is None:
                alternatives.append("r.number IN (SELECT number FROM term WHERE type = ? AND name = ? AND code = ?)")
                values += [kind, condition.name, code]
            else:
                alternatives.append(
                    "r.number IN (SELECT number FROM term WHERE type = ? AND name = ? AND code = ? AND system = ?)"
                )
                values += [kind, condition.name, code, system]
        clauses.append(f"({' OR '.join(alternatives)})")
    return " AND ".join(clauses), list(values)
