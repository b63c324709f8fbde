"""The fault matrix: every fault at every state of a login, against a real sshd."""
