"""The laboratory: real SSH servers on a machine of its own, made of Linux namespaces."""
