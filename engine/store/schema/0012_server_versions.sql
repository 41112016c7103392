-- The version that a FHIR server gave our resources when we wrote them last, for destinations with `conflicts: check`.
CREATE TABLE server_version (
    resource BLOB PRIMARY KEY,              -- 16-byte keyed hash: destination, type and id
    version  TEXT NOT NULL,
    until_us INTEGER NOT NULL
) WITHOUT ROWID;
