"""The guards of a delivery right before it is sent."""

from engine.delivery.before_send import BeforeSend
from engine.features.results.rows import hold_queue, report_lists, superseding

GUARD = BeforeSend(
    overtaken=superseding.overtaken_before_sent,
    close=hold_queue.close_overtaken,
    alike=superseding.have_in_common,
    joined=report_lists.join,
)
