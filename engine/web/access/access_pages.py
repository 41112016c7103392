"""The routes of all pages of access."""

from collections.abc import Callable, Sequence

from engine.web.access.account import AccountPages
from engine.web.access.administration import AdministrationPages
from engine.web.access.desk import Desk
from engine.web.access.log_in import LogInPages
from engine.web.access.oidc import OidcPages
from engine.web.routes import Route


def access_pages(desk: Desk, address: Callable[[], str]) -> Sequence[Route]:
    """``address``: of `OidcPages`."""
    oidc = OidcPages(desk, address)
    log_in = (*LogInPages(desk, oidc.leave).routes(), *oidc.routes())
    return (*log_in, *AccountPages(desk).routes(), *AdministrationPages(desk).routes())
