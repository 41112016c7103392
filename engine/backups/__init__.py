"""Copies of a site in a second folder, and making a site of them again.

    FOLDER/labrelay-1f03ab92/                      one journal; the digits are the beginning of its id
        full-20261120T020000.125Z-000000123456/    a full copy, with the newest row in it
            journal.db  journal.anchor             the journal, as sealed as it is
            site/config/... channels/...           the configuration; the key only if that is asked for
            manifest.json                          what this is: written last, so without it the copy is none
            verified.json                          that it was read back and found whole, and its checksum
            000000123457-000000123500.rows         rows of the journal since then, piece by piece
        drill.json                                 when a copy was last restored for practice, and how that went
        making-.../                                under way, or left by a crash: taken away by the next

Modules: `shelf` knows this layout, `copying` makes a full copy, `pieces` the rows since, `checking` reads a copy back,
`restoring` makes a site of copy and pieces.
"""
