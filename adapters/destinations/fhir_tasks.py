"""Change the Task of a laboratory system on its own FHIR server: status, businessStatus and statusReason.

    GET Task/17                               version 2
    PUT Task/17, If-Match: W/"2"              200; or 412: another one has written it, so read it again and decide anew
    404, 410                                  the laboratory system has deleted it: there is nothing to change

A repeat changes nothing: a Task that has the news is not written. `adapters.codecs.fhir.parent_task` decides.

Source: HL7 FHIR R4, http.html#concurrency ("Managing Resource Contention").
"""

from collections.abc import Mapping

from yarl import URL

from adapters.clients.http.exchange import MAX_CONFLICTS, MAX_KEPT_ANSWER_BYTES, HttpExchange
from adapters.codecs.fhir import parent_task, searchset
from adapters.codecs.fhir.parent_task import TaskNews
from engine.model.errors import ContentError, RefusedDeliveryError, TransientDeliveryError
from engine.model.reasons import ReasonCode

AT_ONCE = 5  # attempts at one Task, before the delivery is tried again later
GONE = (404, 410)


async def update(http: HttpExchange, body: bytes, headers: Mapping[str, str]) -> None:
    """Give the news in a transaction to the Tasks that it names.

    Raises:
        DeliveryError: why one could not be changed; the delivery is to be repeated, or is dead.
    """
    for news in parent_task.news_in(body):
        for _ in range(AT_ONCE):
            if await _is_done(http, news, headers):
                break
        else:
            raise TransientDeliveryError(
                ReasonCode.CONFLICT, f"Task/{news.task} is written again and again", limit=MAX_CONFLICTS
            )


async def _is_done(http: HttpExchange, news: TaskNews, headers: Mapping[str, str]) -> bool:
    """Read and write once; False: another one wrote it in between."""
    address: URL = http.url / "Task" / news.task
    answer = await http.exchange("GET", address, {})
    if answer.status in GONE:
        return True
    if not 200 <= answer.status < 300:
        raise http.failure(answer)
    try:
        there = searchset.resource(answer.body) if answer.whole else None
    except ContentError:
        there = None
    if there is None or there.name != f"Task/{news.task}" or not there.version:
        raise RefusedDeliveryError(
            ReasonCode.CONFLICT,
            f"HTTP {answer.status}, no Task/{news.task} with a version: without one it is not changed",
            answer=answer.body[:MAX_KEPT_ANSWER_BYTES],
        )
    text = parent_task.changed(there.raw.decode(), there.version, news)
    if text is None:
        return True
    condition = {"If-Match": f'W/"{there.version}"', "Content-Type": "application/fhir+json", **headers}
    answer = await http.exchange("PUT", address, condition, text.encode())
    if answer.status in (409, 412, *GONE):
        return False
    if answer.status == 405:
        raise RefusedDeliveryError(ReasonCode.REFUSED, f"HTTP 405, PUT of Task/{news.task} is not allowed")
    if not 200 <= answer.status < 300:
        raise http.failure(answer)
    return True
