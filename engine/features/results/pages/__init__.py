"""The pages of this feature: what is held, the decision about one message, the conflict of a dead letter."""

from engine.features.results.pages import conflict, decision, held
from engine.features.results.pages.panels import PANELS as PANELS
from engine.web.menu import LOOKS, Entry
from engine.web.pages.frame import routes_of

routes = routes_of(held, decision, conflict)
MENU = (Entry(held.PATH, "Held results", LOOKS, 15, icon="held"),)
