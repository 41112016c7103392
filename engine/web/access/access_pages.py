"""The routes of all pages of access."""

from collections.abc import Sequence

from engine.web.access.account import AccountPages
from engine.web.access.administration import AdministrationPages
from engine.web.access.desk import Desk
from engine.web.access.log_in import LogInPages
from engine.web.routes import Route


def access_pages(desk: Desk) -> Sequence[Route]:
    return (*LogInPages(desk).routes(), *AccountPages(desk).routes(), *AdministrationPages(desk).routes())
