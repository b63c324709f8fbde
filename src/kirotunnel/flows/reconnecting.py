"""When a lost connection is tried anew, and when that is of no use. Pure."""

from __future__ import annotations

from typing import Final

from kirotunnel.errors import (
    AuthenticationFailedError,
    ContainerNotFoundError,
    ContainerNotRunningError,
    ContainerWithoutShellError,
    EngineNotFoundError,
    EngineNotPermittedError,
    HostKeyChangedError,
    HostKeyUnknownError,
    KirotunnelError,
    SettingsError,
)

MAX_DROPS: Final = 100
"""Connections that one login may lose; a target that drops more does so by itself."""
_DELAYS_S: Final = (0.0, 0.5, 1.0, 2.0, 4.0)
LONGEST_DELAY_S: Final = 5.0
# Whoever answers there now is not to be trusted, or does not trust us: the next time would be no different.
_REFUSED: Final = (HostKeyChangedError, HostKeyUnknownError, AuthenticationFailedError, SettingsError)
# With a container goes all that ran in it.
_NOT_THERE: Final = (
    ContainerNotFoundError,
    ContainerNotRunningError,
    ContainerWithoutShellError,
    EngineNotFoundError,
    EngineNotPermittedError,
)


def delay_before(attempt: int) -> float:
    """Seconds before that attempt, the first being 1."""
    return _DELAYS_S[attempt - 1] if attempt <= len(_DELAYS_S) else LONGEST_DELAY_S


def is_hopeless(error: KirotunnelError) -> bool:
    """Whether trying again would end the same way: refused by the server, by us for its host key, or gone."""
    return isinstance(error, (*_REFUSED, *_NOT_THERE))
