SELECT pg_database_size('fhir'), pg_current_wal_insert_lsn() - '0/0', (SELECT sum(calls) FROM pg_stat_statements);
