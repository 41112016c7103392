"""The pages of this feature.

The routes of the pages about codes.
"""

from engine.features.codes.pages import codes, correct
from engine.web.menu import CODES, LOOKS, Entry
from engine.web.pages.frame import routes_of

routes = routes_of(codes, correct)
MENU = (Entry("/codes", "Unmapped codes", LOOKS, 10, CODES, "codes"),)
