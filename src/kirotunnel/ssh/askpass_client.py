"""What ssh starts as its SSH_ASKPASS: hands the question to the kirotunnel that waits at a socket, prints the answer.

Run by path, with `python -I -S` and the standard library alone: SOCKET QUESTION.
"""

from __future__ import annotations

import os
import socket
import sys


def main() -> int:
    """0 with the answer on standard output; 1 where there is none."""
    path, question = sys.argv[1:3]
    request = (os.environb.get(b"SSH_ASKPASS_PROMPT", b""), os.fsencode(question), b"")
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            sock.sendall(b"\0".join(request))
            reply = b"".join(iter(lambda: sock.recv(4096), b""))
    except OSError:
        return 1  # nobody waits for it any more
    if not reply.startswith(b"+"):
        return 1
    sys.stdout.buffer.write(reply[1:] + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
