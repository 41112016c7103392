"""What a command may ask for: each field is checked, and one that is wrong is named without its value."""

from typing import Any

import pytest

from engine.actions import verbs
from engine.actions.control import Request
from engine.actions.declaring import Declared, NoArguments, Selected, read
from engine.actions.running_site import Result, RunningSite
from engine.actions.selection import Selection
from engine.actions.verbs import OF_FEATURES, Tap, TapContents, all_acts
from engine.model.errors import LabRelayError, RefusedError
from engine.model.site.permissions import ACTING

CHOSEN = {"selection": {"ids": [5]}}
SITE: Any = object()  # no act here looks at it


@pytest.mark.parametrize(
    ("verb", "args", "named"),
    [
        ("shown", {}, "message: "),
        ("shown", {"message": "SHARMA"}, "message: "),
        ("shown", {"message": True}, "message: "),
        ("shown", {"message": 1}, "purpose: "),
        ("shown", {"message": 1, "purpose": ""}, "purpose: "),
        ("exported", {"what": {"patient": "SHARMA"}, "purpose": ""}, ": "),
        (TapContents, {"channel": "a", "stages": ["raw"], "purpose": ""}, "purpose: "),
        ("dismiss", {**CHOSEN, "dry_run": "SHARMA"}, "dry_run: "),
        ("dismiss", {**CHOSEN, "becuase": "SHARMA"}, "becuase: "),
        ("dismiss", {**CHOSEN, "reason": ["SHARMA"]}, "reason: "),
        ("dismiss", {}, "selection: "),
        ("replay", {**CHOSEN, "rate": 0}, "rate: "),
        ("replay", {**CHOSEN, "rate": None}, "rate: "),
        ("replay", {**CHOSEN, "rate": 100_001}, "rate: "),
        ("replay", {**CHOSEN, "rate": "SHARMA"}, "rate: "),
        ("operation_cancel", {"number": "SHARMA"}, "number: "),
        ("erase", {"messages": [1, "SHARMA"], "numbers": [], "reason": "asked"}, "messages.1: "),
        ("backup", {"do": "SHARMA"}, "do: "),
        (Tap, {"channel": "a", "stages": []}, "stages: "),
        ("prune", {"all": "SHARMA"}, "all: "),
        ("operation_cancel", {"number": 0}, "number: "),
        ("order_cancel", {"order": 0, "reason": "typed twice"}, "order: "),
        ("alert_test", {"sink": ""}, "sink: "),
        ("todo_snooze", {"key": "down/a", "seconds": 5e-324, "reason": "later"}, "seconds: "),
        *(("order_add", {"specimen": f"SHARMA{sign}1", "tests": ["GLU"]}, "specimen: ") for sign in "|\\^&"),
    ],
)
def test_a_field_that_is_wrong_is_named_and_its_value_is_not(
    verb: str | type[NoArguments], args: dict[str, Any], named: str
) -> None:
    model = all_acts()[verb].arguments if isinstance(verb, str) else verb
    with pytest.raises(LabRelayError) as caught:
        read(model, Request(verb="verb", actor="", args=args))
    assert str(caught.value).startswith(f"verb: {named}")
    assert "SHARMA" not in str(caught.value)


def test_nothing_selected_is_never_everything() -> None:
    with pytest.raises(RefusedError, match="nothing was selected"):
        read(all_acts()["dismiss"].arguments, Request(verb="dismiss", actor="", args={"selection": {}}))


async def test_the_work_gets_what_a_command_sends() -> None:
    given: list[Any] = []
    acts = Declared(1)

    @acts.act("replay", ACTING, api="send again")
    async def work(
        site: RunningSite, request: Request, *, reason: str | None = None, dry_run: bool = False, selection: Selected
    ) -> Result:
        given.extend((site, request.actor, reason, dry_run, selection))
        return {}

    (act,) = acts.acts
    request = Request(verb="replay", actor="ann", args={**CHOSEN, "reason": None})
    assert await act.work(SITE, request) == {}
    assert given == [SITE, "ann", None, False, Selection(ids=(5,))]
    assert list(act.arguments.model_fields) == ["reason", "dry_run", "selection"]
    with pytest.raises(LabRelayError, match="becuase: "):
        await act.work(SITE, Request(verb="replay", actor="", args={**CHOSEN, "becuase": ""}))


async def test_a_model_is_given_whole_and_an_act_without_arguments_takes_none() -> None:
    given: list[Any] = []
    acts = Declared(1)

    @acts.act("tap", ACTING, place=2)
    async def with_model(site: RunningSite, request: Request, asked: Tap) -> Result:
        given.append(asked)
        return {}

    @acts.act("prune", ACTING)
    async def without(site: RunningSite, request: Request) -> Result:
        return {"done": True}

    tap, prune = acts.acts
    await tap.work(SITE, Request(verb="tap", actor="", args={"channel": "a", "stages": ["raw"]}))
    assert given == [Tap(channel="a", stages=["raw"])]
    assert await prune.work(SITE, Request(verb="prune", actor="")) == {"done": True}
    assert (tap.place, prune.place, prune.arguments) == (2, 1, NoArguments)


def test_no_two_acts_have_one_name() -> None:
    """The later one would be given in place of the first."""
    declared = [act.name for one in OF_FEATURES.each() for act in one.acts]
    own = [act.name for declared in (verbs.ACTS, verbs.OF_SITE) for act in declared.acts]
    assert sorted(all_acts()) == sorted(declared + own)
