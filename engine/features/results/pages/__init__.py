"""The pages of this feature: what is held, and the decision about one message."""

from engine.features.results.pages import decision, held
from engine.features.results.pages.panels import PANELS as PANELS
from engine.web.menu import LOOKS, Entry
from engine.web.pages.frame import routes_of

routes = routes_of(held, decision)
MENU = (Entry(held.PATH, "Held results", LOOKS, 15, icon="held"),)
