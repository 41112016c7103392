"""The pages of this feature.

The routes of the reports.
"""

from engine.features.reports.pages import reports, shift
from engine.web.menu import LOOKS, RESULTS, Entry
from engine.web.pages.frame import routes_of

routes = routes_of(reports, shift)
MENU = (
    Entry("/shift", "Shift report", LOOKS, 50, icon="shift"),
    Entry("/reports", "Reports", LOOKS, 40, RESULTS, "reports"),
)
