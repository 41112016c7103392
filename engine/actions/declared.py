"""All acts: those of the core, and those of each feature."""

from collections.abc import Mapping
from functools import cache, partial

from engine.actions.declaring import Act, Declared, Verb
from engine.actions.operations import BulkAct
from engine.actions.running_site import RunningSite
from engine.actions.underway import Acts
from engine.actions.verbs import contents, upkeep
from engine.feature import Hook
from engine.model.site.permissions import Permission

OF_FEATURES: Hook[Declared] = Hook("acts")


@cache
def all_acts() -> Mapping[str, Act]:
    """By name, in the order of documents."""
    every = (contents.ACTS, contents.ACTS, upkeep.ACTS, *OF_FEATURES.each())
    acts = [act for one in every for act in one.acts]
    return {act.name: act for act in sorted(acts, key=lambda act: act.place)}


def of_api() -> Mapping[str, Act]:
    """Those that the API gives."""
    return {name: act for name, act in all_acts().items() if act.api}


def verbs_of(site: RunningSite) -> Mapping[str, Verb]:
    return {name: Verb(act.needs, act.arguments, partial(act.work, site)) for name, act in all_acts().items()}


def needs() -> Mapping[str, frozenset[Permission]]:
    """The permissions of each verb, also of those that are followed."""
    followed = {name: one.needs for name, one in contents.FOLLOWED.items()}
    return {name: act.needs for name, act in all_acts().items()} | followed


def bulk_acts(acts: Acts) -> Mapping[str, BulkAct]:
    """The slices of each act that is an operation; a restart goes on with them."""
    return {name: act.slices(acts) for name, act in all_acts().items() if act.slices is not None}
