"""Make a journal from other files: backups and restores, salvage of a damaged file, compaction."""
