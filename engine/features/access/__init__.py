"""Who asks: users, passwords, second factors, log-in sessions, PINs, tokens and the set-up link, below page and API.

accounts        log-in, and who a session's or a token's secret belongs to
users           an admin's acts on users, and a user's own
tokens          tokens of programs and wall screens
set_up_link     how the first admin comes in
directory       all accounts in memory, read anew after each change
passwords       hashes and the rule for new ones
second_factor   codes of an app (RFC 6238), recovery codes

These are in ``service``; ``client`` is the log-in at an identity provider.

Secrets pass through and are not kept: the store has hashes, and the second factor's secret sealed. One log-in or change
of credentials runs at a time, so that a hash costs its memory once and no change is lost; a site's own work goes on
meanwhile. What few sites use (argon2, pyotp, segno) is imported where it is used.
"""

from engine.feature import Feature

FEATURE = Feature(
    tables="rows:TABLES",
    redone="rows:REDONE",
    service="service.service:AccessService",
    pages="pages:routes",
    menu="pages:MENU",
    keys="config:AccessKeys",
    servers="config:servers",
    elsewhere="examine:lines",
    examine="examine:rights",
    system_users="config:system_users",
    key_help="config:KEYS",
    acts="acts:ACTS",
)
