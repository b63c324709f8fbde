"""A callback without a listener: the person pastes the address that the browser ended on, judged by the same gate."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import parse_qsl, urlsplit

from kirotunnel.errors import PromptUnansweredError
from kirotunnel.events import RefusalReason
from kirotunnel.flows.environment import Conversation, Paste
from kirotunnel.local.callback_server import Callback
from kirotunnel.local.pages import Page
from kirotunnel.redaction import Secret
from kirotunnel.wire.gate import LegRule
from kirotunnel.wire.pasted import NotPasted, read_pasted

ANY_PORT = 53153
"""Named in the redirect where any port will do: the last of the list, which the fewest programs use."""


class PastedCallback:
    """In the place of a `CallbackServer`: nothing is listened on, and the browser gets no page."""

    def __init__(
        self,
        port: int,
        *,
        leg: int,
        paths: Iterable[str],
        state: Secret[str],
        paste: Paste,
        conversation: Conversation,
        on_refused: Callable[[RefusalReason], None],
    ) -> None:
        self.port = port or ANY_PORT
        self._rule = LegRule(leg=leg, paths=frozenset(paths), state=state)
        self._paste = paste
        self._conversation = conversation
        self._on_refused = on_refused

    async def callback(self) -> Callback:
        """The callback, once it was pasted. Raises PromptUnansweredError at the end of the input."""
        self._conversation.tell(
            "After signing in, the browser ends on a page that it cannot reach, "
            f"at localhost:{self.port}: that is right.\nCopy the whole address from its address bar."
        )
        while True:
            line = await self._paste.secret("Paste the address here (it is not shown): ")
            if line is None:
                raise PromptUnansweredError(
                    "the input ended before the address of the sign-in page was pasted",
                    "paste the address on a terminal, or write it as a line to standard input",
                )
            pasted = read_pasted(line.reveal(), self.port, self._rule)
            if isinstance(pasted, NotPasted):
                self._on_refused(pasted.reason)
                self._conversation.warn(pasted.words)
                continue
            parts = urlsplit(pasted.target)
            parameters = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=64))
            return Callback(parts.path, Secret(parameters), pasted.outcome)

    def show(self, page: Page) -> None:
        """There is no browser here to show it to."""

    def send_to(self, url: str) -> None:
        """There is no browser here to send."""

    async def close(self) -> None:
        """There is nothing to close."""
