"""The client of `samples/`: it reads all pages, acts once also where an answer is lost, and shows problems."""

import asyncio
import importlib.util
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Site, acting_site
from tests.support.filled_journal import REFUSED, UNMAPPED, fill_journal

CLIENT = Path(__file__).parents[4] / "samples" / "api_client.py"


def loaded() -> Any:
    spec = importlib.util.spec_from_file_location("api_client", CLIENT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


api_client = loaded()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    await asyncio.to_thread(fill_journal, tmp_path)
    async with acting_site(tmp_path) as running:
        yield running


def lab(site: Site, person: str = "operator") -> Any:
    return api_client.LabRelay(f"{site.api.url}/", person, timeout_s=30.0)


async def test_it_reads_every_page(site: Site) -> None:
    found = await asyncio.to_thread(lambda: list(lab(site).rows("messages", limit=2)))
    assert [row["id"] for row in found] == [5, 4, 3, 2, 1]
    letters = await asyncio.to_thread(lambda: list(lab(site).rows("dead-letters", code="UNMAPPED_CODE")))
    assert [row["message"] for row in letters] == [UNMAPPED]
    assert await asyncio.to_thread(lambda: list(lab(site).rows("held/persons"))) == []


async def test_it_counts_and_acts_once_though_the_answer_is_lost(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real, lost = urllib.request.urlopen, []

    def losing(request: urllib.request.Request, **more: Any) -> Any:
        answer = real(request, **more)
        if request.has_header("Idempotency-key") and not lost:
            lost.append(answer.read())
            answer.close()
            raise ConnectionResetError
        return answer

    monkeypatch.setattr(urllib.request, "urlopen", losing)
    done = await asyncio.to_thread(lambda: lab(site).act("dismiss", selection={"code": "UNMAPPED_CODE"}, reason="seen"))
    assert (done["done"], len(lost)) == ({"dismissed": 1}, 1)
    done = await asyncio.to_thread(lambda: lab(site).act("dismiss", selection={"ids": [REFUSED]}, reason="seen"))
    assert done["done"] == {"dismissed": 1}
    assert site.called == ["dismiss"] * 3  # counted, done; done
    assert site.trail() == [("operator", "dismiss")] * 4, "two operations of one step each"


async def test_a_problem_is_shown_with_its_trace_id(site: Site) -> None:
    for person, status in {"viewer": 403, "unknown": 401}.items():
        with pytest.raises(api_client.ProblemError) as caught:
            await asyncio.to_thread(lambda person=person: lab(site, person).act("reload"))
        assert caught.value.said["status"] == status
        assert caught.value.said["trace_id"] in str(caught.value)


async def test_a_server_that_is_away_is_tried_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def away(request: urllib.request.Request, **more: Any) -> Any:
        tries.append(request)
        raise urllib.error.URLError("away")

    monkeypatch.setattr(urllib.request, "urlopen", away)
    with pytest.raises(urllib.error.URLError):
        api_client.LabRelay("http://127.0.0.1:9", "token").ask("/api/v1/status")
    assert len(tries) == api_client.TRIES
