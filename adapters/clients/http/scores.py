"""Numbers of another program: one POST for each question, on connections that are kept."""

from yarl import URL

from adapters.clients.http.posts import Posts
from adapters.clients.tls import tls_context
from engine.model.errors import LabRelayError

HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "LabRelay"}
MOST, KEEP_S = 1024 * 1024, 30.0


class Scores:
    """The programs that are asked, by address."""

    def __init__(self) -> None:
        self._posts: dict[str, Posts] = {}

    async def ask(self, url: str, body: bytes, timeout_s: float) -> bytes:
        """The answer.

        Raises:
            LabRelayError: there is none, in words without a value of the message.
        """
        if url not in self._posts:
            tls = tls_context("score", None) if url.startswith("https:") else None
            self._posts[url] = Posts(URL(url), tls, HEADERS, most=MOST, keep_s=KEEP_S)
        try:
            answer = await self._posts[url].post({"Content-Type": "application/json"}, body, timeout_s)
        except TimeoutError:
            raise LabRelayError(f"no answer within {timeout_s:g} s") from None
        except OSError as error:
            raise LabRelayError(f"it cannot be reached ({type(error).__name__})") from None
        if answer.status != 200 or not answer.whole:
            raise LabRelayError(f"HTTP {answer.status}" if answer.whole else "its answer is too long")
        return answer.body

    def close(self) -> None:
        for posts in self._posts.values():
            posts.close()
        self._posts.clear()


def build() -> Scores:
    return Scores()
