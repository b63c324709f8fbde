"""Opens whatever it is told, and waits for a while: a remote that somebody else has got hold of."""

import sys
import time

from keeper import Listener, open_in_browser

_, url, *listen = sys.argv
kept = [Listener(port=int(port)) for port in listen]
open_in_browser(url)
print("that was all", flush=True)
time.sleep(3)
