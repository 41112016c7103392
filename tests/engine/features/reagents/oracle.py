"""People may expect this of `engine.features.reagents`; `tests/support/oracle.py` says how."""

from tests.support.oracle import LOOK

PAGES = {
    "GET /reagents": LOOK,
    "GET /reagents.json": LOOK,
}
LISTS = {
    "/reagents": (LOOK, "reagents"),
}
READ = {
    "reagents": (),
}
