"""Write a file whole or not at all: who reads it meanwhile, or after a failure, has what was there before."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def replace_file(file: Path, text: str, *, durable: bool = False) -> None:
    """Put a file with this text in the place of another, or of none; its owner alone may read it (0600).

    `durable`: it is on the disk before it counts. Raises OSError.
    """
    descriptor, name = tempfile.mkstemp(dir=file.absolute().parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text)
            if durable:
                out.flush()
                os.fsync(descriptor)
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
