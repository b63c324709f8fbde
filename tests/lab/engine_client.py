"""A stand-in for the programs docker, nerdctl and kubectl, as far as kirotunnel calls them; which it is, its name says.

It takes the arguments that their documentation has, and no others:
  docker, nerdctl   container inspect --format TEMPLATE CONTAINER · ps --format TEMPLATE · exec -i[t] CONTAINER COMMAND…
  kubectl           get pod NAME [-n NAMESPACE] --request-timeout=TIME -o jsonpath=TEMPLATE
                    exec -i[t] POD [-n NAMESPACE] -c CONTAINER -- COMMAND…
What is behind it is `engine.py`, on the other end of a socket, as dockerd is. As with the real ones, with -t the input
must be a terminal, which is passed on raw, with its size; a client that is killed leaves the process inside running.
"""

import array
import json
import os
import signal
import socket
import sys
import threading
import tty

SOCKET = "/run/engine.sock"
HERE = os.path.basename(sys.argv[0])


def main():
    arguments = sys.argv[1:]
    with_terminal = arguments[:2] == ["exec", "-it"]
    if with_terminal and not os.isatty(0):
        sys.exit(say("the input device is not a TTY" if HERE == "docker" else "Unable to use a TTY", 1))
    daemon = socket.socket(socket.AF_UNIX)
    try:
        daemon.connect(SOCKET)
    except PermissionError:
        sys.exit(say("permission denied while trying to connect to the Docker daemon socket at unix://" + SOCKET, 1))
    except OSError:
        sys.exit(say("Cannot connect to the Docker daemon at unix://" + SOCKET + ". Is the docker daemon running?", 1))
    ours, theirs = pipes()
    size = list(os.get_terminal_size(0)) if with_terminal else None
    request = json.dumps({"program": HERE, "arguments": arguments, "size": size}).encode() + b"\n"
    daemon.sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", theirs))])
    for descriptor in theirs:
        os.close(descriptor)
    if with_terminal:
        tty.setraw(0)

        def resized(*_):
            daemon.sendall(json.dumps({"size": list(os.get_terminal_size(0))}).encode() + b"\n")

        signal.signal(signal.SIGWINCH, resized)
    threading.Thread(target=copy, args=(0, ours[0]), daemon=True).start()
    pumps = [threading.Thread(target=copy, args=(ours[1], 1)), threading.Thread(target=copy, args=(ours[2], 2))]
    for pump in pumps:
        pump.start()
    said = daemon.makefile().readline()
    for pump in pumps:
        pump.join()
    os._exit(json.loads(said)["exit"] if said else 125)


def say(words, code):
    sys.stderr.write(words + "\n")
    return code


def pipes():
    """Our ends and theirs of input, output and errors."""
    (in_r, in_w), (out_r, out_w), (err_r, err_w) = os.pipe(), os.pipe(), os.pipe()
    return (in_w, out_r, err_r), (in_r, out_w, err_w)


def copy(source, sink):
    try:
        while True:
            data = os.read(source, 65536)
            if not data:
                break
            while data:
                data = data[os.write(sink, data) :]
    except OSError:
        pass
    if sink not in (1, 2):
        os.close(sink)


main()
