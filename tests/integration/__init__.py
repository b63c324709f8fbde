"""Single parts against real sockets, without an SSH server."""
