"""What was noted while the clock was ahead follows it once it is set back: a call, an SMS or a page that was put off
waits as long as it was to wait, from now on; so last a search, a code, a token, an invitation and the window of a
request; and a block by the network lasts a day at most.
"""

from engine.features.abdm.rules.network import BLOCK_S
from engine.store.core.writing.batch import Batch

_WAITS = "not_before_us = ?1 + max(not_before_us - changed_us, 0), "
_LASTS = "{end} = CASE WHEN made_us > ?1 AND {end} > 0 THEN ?1 + max({end} - made_us, 0) ELSE {end} END, "
_ENDS, _UNTIL = _LASTS.format(end="ends_us"), _LASTS.format(end="until_us")
_MADE = "made_us = min(made_us, ?1), "
_AHEAD = "changed_us > ?1"
# Made under the clock that was ahead, and changed under the right one: it was under way when the clock was set back.
_OF_AHEAD = f"({_AHEAD} OR made_us > ?1)"
_OPEN = "(SELECT number FROM abdm_transfer WHERE state NOT IN ('ended', 'refused'))"
_FOLLOW = tuple(
    f"UPDATE {table} SET {follows}changed_us = min(changed_us, ?1) WHERE {ahead}{which}"  # noqa: S608 - constants
    for table, follows, ahead, which in (
        ("abdm_call", _WAITS + _ENDS + _MADE, _OF_AHEAD, " AND state IN ('waiting', 'accepted', 'sending')"),
        ("abdm_code", _WAITS + _ENDS + _MADE + "typed_us = min(typed_us, ?1), ", _OF_AHEAD, ""),
        ("abdm_offer", _ENDS + _MADE, _OF_AHEAD, ""),
        ("abdm_page", _WAITS, _AHEAD, f" AND state = 'sealed' AND transfer IN {_OPEN}"),
        ("abdm_transfer", _ENDS + _MADE, _OF_AHEAD, f" AND number IN {_OPEN}"),
        ("abdm_share", _UNTIL + _MADE, _OF_AHEAD, ""),
        ("abdm_invitation", _MADE, _OF_AHEAD, ""),
    )
)
_BLOCKS = "UPDATE abdm_link_token SET until_us = ?1 + ?2 WHERE state = 'blocked' AND until_us > ?1 + ?2"


def follow(batch: Batch) -> None:
    """Have all that follows the clock do so; nothing where it was not set back."""
    batch.execute(_BLOCKS, (batch.now_us, round(BLOCK_S * 1_000_000)))
    for statement in _FOLLOW:
        batch.execute(statement, (batch.now_us,))
