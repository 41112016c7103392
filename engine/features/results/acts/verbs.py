"""Acts of a person who decides about dead letters and held results, and whose results they are."""

from collections.abc import Awaitable, Callable

from engine.actions.control import Request
from engine.actions.declaring import Declared, Reason, RowNumber, Selected
from engine.actions.operations import BulkAct
from engine.actions.running_site import Result, RunningSite
from engine.features.results.acts import hold_decisions
from engine.features.results.acts.tell_apart import tell_patients_apart
from engine.model.permissions import ACTING

ACTS = Declared(2)


def _decided(name: str, decide: Callable[..., Awaitable[Result]], slices: BulkAct, api: str) -> None:
    @ACTS.act(name, ACTING, api=api, counted=True, slices=lambda acts: slices)
    async def work(
        site: RunningSite, request: Request, *, reason: Reason = None, dry_run: bool = False, selection: Selected
    ) -> Result:
        return await decide(
            site.acts, selection, actor=request.actor, reason=reason or "", dry_run=dry_run, within_s=site.within_s
        )


_decided("dismiss", hold_decisions.dismiss_letters, hold_decisions.dismissing, "close dead letters for good")
_decided("release", hold_decisions.release_held, hold_decisions.releasing, "let held results go to their destination")
_decided("reject", hold_decisions.reject_held, hold_decisions.rejecting, "decide that held results are never delivered")


@ACTS.act("tell_apart", ACTING, api="say whose a held result is", place=4)
async def tell_apart(
    site: RunningSite,
    request: Request,
    *,
    reason: Reason = None,
    dry_run: bool = False,
    message: RowNumber,
    answer: str,
) -> Result:
    return await tell_patients_apart(
        site.acts, message, answer, actor=request.actor, reason=reason or "", dry_run=dry_run
    )
