"""LabRelay as Health Information Provider at ABDM, India's network of health records.

    gateway                                        patient's app, reader of records
       |  callback (signed)                              ^
       v                                                 |  pages
    listener  proves it, commits the bytes, answers      |
       |                                                 |
       v                                                 |
    dispatcher  folds callbacks, in order, by a table of handlers: state and calls in one transaction
       ^  |
       |  v
       |  outbox of calls: REQUEST-ID journaled, then sent; the answer journaled  ---->  gateway
       +---------------------------- the callback with the result may come first

listener     callbacks: who sent them, and are they durable
dispatcher   from committed callbacks to state; from queued calls to answers
flow         what a flow declares
service      these together, as the daemon runs them
reports      from a delivered document to a care context
issues       what a context knows of the issues of its report
later        what a person decides of a report: whose it is, that it goes out no more
linking      records that the laboratory links by itself
consents     what patients allow to go out, and until when
requests     requests for records: acknowledged or refused, and the report of their end
pages        which reports go, checked and encrypted
turns        steps of a transfer, each in one transaction
pushing      transfers on their way to readers
disclosures  what has gone out, in the audit trail
leaving      a patient leaves the network
sharing      a patient shares his profile at a counter, and the laboratory system hears of him
inviting     SMS to patients without ABHA
discovery    records that the patient links from his app
matching     whose records he asks for
texting      codes for it by SMS
outbox       work that waits in the journal and goes out, some at once; waiting for the journal
preflight    faults of our account at the gateway, and lines of them for people who set up
watch        looks for them at intervals

How to add a flow
-----------------
A flow is one module with a `flow.Flow` named ``FLOW``, and one line in ``FLOWS`` of `dispatcher`. It declares

- ``callbacks``: path (without ``/api``) -> handler ``(batch, ours, callback) -> reason``. A handler is a function of
  the journal's batch: it reads the body, calls the functions of `engine.features.abdm.rows` (all SQL is there) and
  queues calls by `calls.queue`. It returns why nothing had to be done, or ``""``, and raises `CallbackBodyError` with a
  short constant for a body that cannot be used: then nothing of it is kept but the callback itself. The same REQUEST-ID
  never comes twice; the same transaction under another REQUEST-ID does, so look it up first.
- ``calls``: a `flow.CallKind` for each call it queues: its path, whether X-HIP-ID goes along, the path of the callback
  that brings its result (empty: the answer is the result), ``headers`` that are read when it goes out, ``late``, which
  follows on a result that comes after the call has failed, and ``ended``,
  which follows on the end in the same transaction: `GatewayAnswer.verdict` says how it ended (TAKEN and BEFORE are
  success). Trying again, back-off, renewal of our session and lost callbacks are the dispatcher's work; ``ended`` may
  have a call made once more itself (`calls.again`, `calls.await_result`).

Nothing in a handler or in ``ended`` waits, sends, draws the time (``batch.now_us`` is it) or logs. An answer to a
callback is a queued call whose body has ``response: {"requestId": callback.request_id}``. Work that is no call to the
gateway (pages to a reader, an SMS) is a loop of its own beside the dispatcher, that reads rows, journals before it
sends, and notes what came of it; `dispatcher.Dispatcher.changed` wakes the outbox afterwards; `follow` wakes the loop
when a callback was folded (`texting`), `follow_calls` when a call was answered (`pushing`). A test against the
simulator: `tests/engine/features/abdm/test_linking.py` with `tests.support.abdm_site`.
"""

from engine.feature import Feature

FEATURE = Feature(
    tables="rows:TABLES",
    on_earlier_state="rows.consents:on_earlier_state",
    every="rows.forgetting:EVERY",
    on_prune="rows.forgetting:let_go",
    on_erase="rows.forgetting:on_erase",
    forgets_again="rows.forgetting:forget_again",
    todo="todo:entries",
    service="service.service:AbdmService",
    metrics="metrics:METRICS",
    pages="pages:routes",
    menu="pages:MENU",
    panels="pages:PANELS",
    after=("orders",),
    destination="config.destination:AbdmDestination",
    source="config.together:ShareSource",
    erased="examine:kept",
    elsewhere="service.preflight:lines",
    agreement="config.together:disagreements",
    key_help="config.together:KEYS",
    acts="acts:ACTS",
    lists="lists.listed:LISTS",
)
