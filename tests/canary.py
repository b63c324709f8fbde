"""The canary: in the whole suite no secret is in an error's words, in a log line, or in what was printed.

The sandbox's tokens and codes all look alike (`demo.` and 43 characters), and tests call their own secrets `s3cr3t…` or
`…-5ecret`. `kirotunnel token` is the one command that prints a token, and it does so in a process of its own.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, Final

import pytest

from kirotunnel.errors import KirotunnelError

SECRET: Final = re.compile(r"demo\.[A-Za-z0-9_-]{43}|s3cr3t|-5ecret")
_sung: list[str] = []
_original = KirotunnelError.__init__


def _listening(self: KirotunnelError, message: str, *rest: Any, **more: Any) -> None:
    _original(self, message, *rest, **more)
    if SECRET.search(f"{self.message} {self.hint}"):
        _sung.append(f"{type(self).__name__} has a secret in its words")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "sings: a test of the canary itself")
    KirotunnelError.__init__ = _listening


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if report.when != "call" or not report.passed or item.get_closest_marker("sings"):
        return
    found = [*_sung, *(f"a secret is in the {name}" for name, text in report.sections if SECRET.search(text))]
    _sung.clear()
    if found:
        report.outcome = "failed"
        report.longrepr = "the canary sings: " + "; ".join(found)
