"""The files of the data folder: durable, locked, of one owner, with space in reserve, repaired."""
