"""docs/users.md names for each role the verbs of the control socket that its permissions give, and every such verb."""

import re
from pathlib import Path

from engine.actions.verbs import needs
from engine.model.site.permissions import ACTING, CHANGING, LOOKING, SEEING_PATIENTS

PAGE = (Path(__file__).parents[2] / "docs" / "users.md").read_text(encoding="utf-8")
ROLES = {"viewer": LOOKING, "operator": ACTING, "engineer": CHANGING, "see-patients": SEEING_PATIENTS}
# Commands whose verb on the socket has another name than the command and its own verb together.
VERBS = {
    "alert list": "alerts",
    "alert silences": "alerts",
    "dlq dismiss": "dismiss",
    "dlq retry": "retry",
    "dlq set-aside": "set_aside",
    "held answer": "tell_apart",
    "held reject": "reject",
    "held release": "release",
    "orders worklist": "order_worklist",
    "tables set": "table_set",
    "tables undo": "table_undo",
    "tables unset": "table_set",
    "tap --unmask": "tap_contents",
    "todo list": "todo",
}
IN_GROUPS = ("order_", "reflex_", "abdm_", "draft_", "quality_")  # the page names these by their group
TOGETHER = {"held answer"}  # for who sees patients, with the role of an operator besides
READS_FILES = {"operation_cancel", "reprocess", "held_look"}  # their commands read the journal, so they need sudo


def named(role: str) -> set[str]:
    (cell,) = re.findall(rf"^\| `{role}`[^|]*\|[^|]*\|(.*)\|$", PAGE, re.MULTILINE)
    found = set()
    for group in cell.replace("acts of `orders`, `quality`, `abdm`", "").replace("acts of `add`; ", "").split(";"):
        before = ""
        for words in re.findall(r"`([^`]+)`", group.replace("with `operator`: ", "")):
            if " " in words:
                before = words.split()[0] + " "
                found.add(words)
            else:
                found.add(before + words)
    return found


def verb_of(command: str) -> str:
    return VERBS.get(command, command.replace(" ", "_").replace("-", "_"))


def test_each_verb_is_at_the_role_that_may_give_it() -> None:
    wrong = {
        f"{role}: {command}"
        for role, needed in ROLES.items()
        for command in named(role)
        if needs()[verb_of(command)] != (needed | ACTING if command in TOGETHER else needed)
    }
    assert not wrong


def test_no_verb_of_an_operator_or_engineer_is_missing() -> None:
    for role in ("operator", "engineer"):
        given = {verb for verb, needed in needs().items() if needed == ROLES[role] and not verb.startswith(IN_GROUPS)}
        told = {verb_of(command) for command in named(role)}
        assert given - READS_FILES == told, f"name its command at {role} in docs/users.md, or in VERBS here"
