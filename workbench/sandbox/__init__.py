"""An embedded FHIR R4 server to develop and test against: strict in what it accepts, with faults to switch on.

It is for laptops, demonstrations and tests. It has no users, no encryption at rest and no syncs to disk, and must
never hold a real patient's data.

    server     HTTP: routes, faults at the door, the summary page
    bundle     transactions, batches and single interactions
    search     search parameters: what is indexed, how a query is read
    rules      what makes a resource unacceptable (400, 422)
    store      SQLite: versions, index, delivery keys
    exact_json JSON in and out with each number's text kept
    faults     what to do wrong, how often
"""

from workbench.sandbox.faults import Faults
from workbench.sandbox.server import Sandbox

__all__ = ["Faults", "Sandbox"]
