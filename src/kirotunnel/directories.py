"""Where this user's files are: settings and profiles, sessions, and what is remembered between runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

Kind = Literal["config", "data", "state"]


def own_directory(kind: Kind) -> Path:
    """Our directory in $XDG_CONFIG_HOME, $XDG_DATA_HOME or $XDG_STATE_HOME, else where it usually is on the system."""
    chosen = Path(os.environ.get(f"XDG_{kind.upper()}_HOME", ""))
    if chosen.is_absolute():  # the XDG Base Directory Specification says to pass over a relative one
        return chosen / "kirotunnel"
    import platformdirs

    match kind:
        case "config":
            return platformdirs.user_config_path("kirotunnel", appauthor=False)
        case "data":
            return platformdirs.user_data_path("kirotunnel", appauthor=False)
        case "state":
            return platformdirs.user_state_path("kirotunnel", appauthor=False)
