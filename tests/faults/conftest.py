"""The lanes of this process that runs tests, and where the outcomes are written down."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from faults.lanes import Lanes
from lab.requirements import require_laboratory


@pytest.fixture(scope="session")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lanes]:
    """Started with the first test that wants them."""
    require_laboratory()
    with Lanes(tmp_path_factory.mktemp("lanes")) as running:
        yield running
