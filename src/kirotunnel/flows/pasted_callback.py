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
from kirotunnel.wire.pasted import NotPasted, Pasted, read_pasted

ANY_PORT = 53153
"""Named in the redirect where any port will do: the last of the list, which the fewest programs use."""


async def ask_for_callback(
    paste: Paste, conversation: Conversation, port: int, rule: LegRule, on_refused: Callable[[RefusalReason], None]
) -> Pasted:
    """Have the person paste the address that the browser ends on, until it is this leg's callback.

    Raises PromptUnansweredError at the end of the input.
    """
    conversation.tell(
        f"After signing in, the browser ends on a page that it cannot reach, at localhost:{port}: that is right.\n"
        "Copy the whole address from its address bar."
    )
    while (line := await paste.secret("Paste the address here (it is not shown): ")) is not None:
        match read_pasted(line.reveal(), port, rule):
            case Pasted() as pasted:
                return pasted
            case NotPasted(reason, words):
                on_refused(reason)
                conversation.warn(words)
    raise PromptUnansweredError(
        f"the input ended before the address of sign-in page {rule.leg} was pasted",
        "paste the address on a terminal, or write it as a line to standard input",
    )


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
        pasted = await ask_for_callback(self._paste, self._conversation, self.port, self._rule, self._on_refused)
        parts = urlsplit(pasted.target)
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=64))
        return Callback(parts.path, Secret(parameters), pasted.outcome)

    def show(self, page: Page) -> None:
        """There is no browser here to show it to."""

    def send_to(self, url: str) -> None:
        """There is no browser here to send."""

    async def close(self) -> None:
        """There is nothing to close."""
