"""Only listens: the person gets its URL from a file, by other means than this terminal."""

import os
from pathlib import Path

from keeper import Listener, sign_in

listener = Listener()
print("Waiting for the sign-in in your browser...", flush=True)
sign_in(listener, f"http://localhost:{listener.port}/callback", Path(os.environ["ZOO_URL_FILE"]).write_text)
