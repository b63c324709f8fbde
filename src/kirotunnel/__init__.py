"""Sign remote command-line tools in with the browser of this machine.

    import asyncio, kirotunnel

    result = asyncio.run(kirotunnel.login("my-ec2", on_event=print))

Everything here is loaded on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kirotunnel.version import __version__

if TYPE_CHECKING:
    from kirotunnel.api import (
        Account,
        AttachResult,
        Container,
        Event,
        KirotunnelError,
        LoginResult,
        LogoutResult,
        Pod,
        SignInResult,
        attach,
        login,
        login_all,
        login_here,
        logout,
        parse_container,
        parse_pod,
        run,
        token,
        whoami,
    )

__all__ = [
    "Account",
    "AttachResult",
    "Container",
    "Event",
    "KirotunnelError",
    "LoginResult",
    "LogoutResult",
    "Pod",
    "SignInResult",
    "__version__",
    "attach",
    "login",
    "login_all",
    "login_here",
    "logout",
    "parse_container",
    "parse_pod",
    "run",
    "token",
    "whoami",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from kirotunnel import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
