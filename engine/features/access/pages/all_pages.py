"""The routes of all pages of access."""

from collections.abc import Sequence

from engine.features.access.pages.account import AccountPages
from engine.features.access.pages.administration import AdministrationPages
from engine.features.access.pages.log_in import LogInPages
from engine.features.access.pages.oidc import OidcPages
from engine.features.access.service.accounts import Accounts
from engine.web.menu import ADMINISTERS, ADMINISTRATION, Entry
from engine.web.pages.frame import Frame
from engine.web.routes import Route

MENU = (Entry("/users", "Users", ADMINISTERS, 40, ADMINISTRATION),)


def routes(frame: Frame) -> Sequence[Route]:
    """None where no person can log in."""
    desk = frame.desk
    if desk is None:
        return ()
    assert isinstance(desk.accounts, Accounts)
    oidc = OidcPages(desk, desk.accounts, lambda: frame.config().public_address)
    log_in = (*LogInPages(desk, desk.accounts, oidc.leave).routes(), *oidc.routes())
    own = AccountPages(desk, desk.accounts).routes()
    return (*log_in, *own, *AdministrationPages(desk, desk.accounts).routes())
