"""The pages on which people log in and change accounts.

log_in            log in and out, change the user of a shared computer, the set-up link, the wall screen
account           a user's own account
administration    users and tokens, for those who administer

`engine.features.access` decides; nothing here does. No page has a secret in its address but the two links that work
once.

The routes of all pages of access.
"""

from collections.abc import Sequence

from engine.features.access.pages.administration import AdministrationPages
from engine.features.access.pages.log_in import AccountPages, LogInPages
from engine.features.access.pages.oidc import OidcPages
from engine.features.access.service.accounts import Accounts
from engine.web.menu import ADMINISTERS, ADMINISTRATION, Entry
from engine.web.pages.frame import Frame
from engine.web.routes import Route

MENU = (Entry("/users", "Users", ADMINISTERS, 25, ADMINISTRATION, "user"),)


def routes(frame: Frame) -> Sequence[Route]:
    """None in the process that draws pages: the daemon alone knows persons."""
    desk = frame.desk
    if not isinstance(desk.accounts, Accounts):
        return ()
    oidc = OidcPages(desk, desk.accounts, lambda: frame.config().public_address)
    log_in = (*LogInPages(desk, desk.accounts, oidc.leave).routes(), *oidc.routes())
    own = AccountPages(desk, desk.accounts).routes()
    return (*log_in, *own, *AdministrationPages(desk, desk.accounts).routes())
