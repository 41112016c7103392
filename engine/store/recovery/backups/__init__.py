"""Copies of a site in a second folder, and restoring a site from them.

    FOLDER/labrelay-1f03ab92/                      one journal; the digits are the beginning of its id
        full-20261120T020000.125Z-000000123456/    a full copy, with the newest row in it
            journal.db  journal.anchor             the journal, sealed as always
            site/config/... channels/...           the configuration; the key only on request
            manifest.json                          description, written last: without it there is no copy
            verified.json                          the result of reading it back, and its checksum
            000000123457-000000123500.rows         a piece: rows of the journal since then
            000001-000000123500-5f0c....state      a state snapshot: verdicts, deliveries, pauses
            000001-77ab....known                   basis of comparison for the next snapshot
        drill.json                                 time and result of the last restore test
        claim.json                                 the machine with a later incarnation than the first
        making-.../                                under way, or left by a crash: removed by the next

SQLite's backup steps run on the writer's connection (``Writer.lend``): a job calls its pump between steps, and the pump
commits waiting operations. Another connection reads the pieces, since rows never change. A restored journal has
``meta.restored_to``: documents of messages up to there are born *maybe delivered*.

Modules: `catalog` knows this layout, and which machine may write in it, `copying` makes a full copy,
`increments` writes the rows since, `state_snapshot` the state of messages, `recovery_point` reports the present value
of the copies, `checking` tries one, `restoring` makes a site from all of these: `decisions` redoes later
decisions and erasures of people.
"""
