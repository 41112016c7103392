"""The routes of the pages about ABDM."""

from engine.features.abdm.pages import abdm, acts, consent, context, listed
from engine.web.menu import LOOKS, RESULTS, Entry
from engine.web.pages.frame import routes_of

routes = routes_of(abdm, acts, consent, context, listed)
MENU = (Entry("/abdm", "ABDM", LOOKS, 70, RESULTS),)
