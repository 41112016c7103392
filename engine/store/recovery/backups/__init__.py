"""Copies of a site in a second folder, and making a site of them again.

    FOLDER/labrelay-1f03ab92/                      one journal; the digits are the beginning of its id
        full-20261120T020000.125Z-000000123456/    a full copy, with the newest row in it
            journal.db  journal.anchor             the journal, as sealed as it is
            site/config/... channels/...           the configuration; the key only if that is asked for
            manifest.json                          what this is: written last, so without it the copy is none
            verified.json                          that it was read back and found whole, and its checksum
            000000123457-000000123500.rows         rows of the journal since then, piece by piece
            000001-000000123500-5f0c....state      how messages stood after them: verdicts, deliveries, pauses
            000001-77ab....known                   what the next of these is compared with
        drill.json                                 when a copy was last restored for practice, and how that went
        making-.../                                under way, or left by a crash: taken away by the next

SQLite's backup steps run on the writer's connection (``Writer.lend``): a job calls its pump between steps, and the pump
commits what waits. Another connection reads the pieces, since rows never change. A restored journal has
``meta.restored_to``: documents of messages up to there are born *maybe delivered*.

Modules: `shelf` knows this layout, `copying` makes a full copy, `pieces` the rows since, `standing` how messages
stood then, `outlook` says what they are worth now, `checking` reads a copy back, `decided` tells what people decided
after that, `restoring` makes a site of it all.
"""
