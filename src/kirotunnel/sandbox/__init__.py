"""Stand-ins for what a laptop does not have: a remote machine, its CLI, the sign-in services. For `demo` and tests."""
