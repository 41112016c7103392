"""The routes of all pages of access."""

from collections.abc import Callable, Sequence

from engine.features.access.pages.account import AccountPages
from engine.features.access.pages.administration import AdministrationPages
from engine.features.access.pages.log_in import LogInPages
from engine.features.access.pages.oidc import OidcPages
from engine.web.desk import Desk
from engine.web.routes import Route


def access_pages(desk: Desk, address: Callable[[], str]) -> Sequence[Route]:
    """``address``: of `OidcPages`."""
    oidc = OidcPages(desk, address)
    log_in = (*LogInPages(desk, oidc.leave).routes(), *oidc.routes())
    return (*log_in, *AccountPages(desk).routes(), *AdministrationPages(desk).routes())
