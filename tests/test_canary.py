"""The canary itself: it sings when it should."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SINGS = """
    import logging
    from kirotunnel.errors import OAuthError

    def test_error():
        OAuthError("the code demo." + "x" * 43 + " is not known")

    def test_print():
        print("s3cr3t")

    def test_log():
        logging.getLogger("x").warning("a-5ecret")

    def test_quiet():
        OAuthError("nothing of that kind")
"""


@pytest.mark.sings
def test_it_sings_for_errors_prints_and_logs_and_for_nothing_else(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    pytester.makepyfile(SINGS)
    result = pytester.runpytest_subprocess("-p", "canary", "-p", "no:cacheprovider")
    result.assert_outcomes(failed=3, passed=1)
