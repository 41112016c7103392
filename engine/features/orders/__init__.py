"""Orders of laboratory systems, questions of analyzers, and the answers to both from the worklist.

taking, order_writers, lis     orders in, and their answer on the connection that they came by
polling                        what was taken of a server that is searched for orders
building, service, listening   their part in built channels, and what runs of them; later changes, as messages of
                               channels of kind ``order-status``
asking                         how a channel's analyzer asks, and by which codes it gets its orders
desk, lines                    questions and their answers, on the connection of the question, or on one that LabRelay
                               opens (IHE LAW); orders that were cancelled while the analyzer has them
download, fetching             orders that go out unasked; a request for stored results
sheets                         worklists for paper

    question durable -> look up, and note it (one commit) -> dialogue writes the answer -> link sends it -> note the end

The first step is `engine.receiving.channel`'s: over ASTM a question is acknowledged as every message is; over MLLP it
gets a commit accept at most. The answer is a message of its own, and takes responsibility for nothing. It never waits
behind results: the look-up goes to the journal's writer at once, while the question itself takes its usual way and ends
as *filtered* (``QUESTION``).

An answer that is not ready in time is not given: the tube is parked, and the analyzer asks again. So nothing here is
tried again by itself.
"""

from engine.feature import Feature

FEATURE = Feature(
    on_outcome="on_outcome:Orders",
    on_decided="on_outcome:moved",
    on_taken_back="rows.holding:taken_back",
    with_open_order="rows.items:with_open_order",
    tables="rows:TABLES",
    on_earlier_state="rows.forgetting:go_on_from",
    checks="rows.check:CHECKS",
    keeps="rows.forgetting:keeps",
    made_of="rows.forgetting:made_of",
    on_walk="rows.forgetting:forget_questions",
    left_of="rows.forgetting:left_of",
    on_erase="rows.forgetting:erase",
    salvage="rows.salvage:SALVAGE",
    todo="todo:entries",
    sources="exchange.building:TALK",
    service="exchange.service:OrderService",
    pages="pages:routes",
    menu="pages:MENU",
    panels="pages:PANELS",
    channel_keys="config.orders:OrdersKeys",
    source="config.orders:StatusSource",
    examine="examine:lines",
    agreement="config.together:disagreements",
    key_help="config.together:KEYS",
    acts="acts:ACTS",
    lists="lists.listed:LISTS",
)
