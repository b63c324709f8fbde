"""What a command does on a target, whether it is one of many or alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from kirotunnel.flows.environment import Conversation, Environment

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """What a command did on one target."""

    ok: bool
    words: str
    """What the person is told, without the target's name."""
    answer: str | None = None
    """What belongs on stdout."""
    where: str | None = None
    """The target, and the container on it; None for the target's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand(Generic[T]):
    """What a command does on each target."""

    prepare: Callable[[dict[str, Any]], T]
    """The flow's options from the parameters; `target` is among them."""
    environment: Callable[[dict[str, Any], Conversation], Environment]
    perform: Callable[[T, Environment], Awaitable[Done]]
    plan: Callable[[T], Awaitable[str]] | None = None
    """What would be done, for --dry-run."""
    takes_turns: bool = False
    """A person is needed for each, so only a few at a time."""
    remembers: bool = False
    """Which targets failed is kept for --retry-failed."""
    sum: Callable[[int, int], str]
    """The last line of the summary, from how many are well of how many."""
