"""This machine: its browser, its loopback ports and who holds them, its terminal."""
