"""Opens whatever it is told, and waits for Enter or a while: a remote that somebody else has got hold of."""

import sys
import time

from keeper import Listener, open_in_browser

_, url, *listen = sys.argv
kept = [Listener(port=int(port)) for port in listen]
open_in_browser(url)
if sys.stdin.isatty():
    input()
else:
    time.sleep(3)  # in which it would be opened, if it ever were
print("that was all", flush=True)
