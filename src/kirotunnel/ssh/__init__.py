"""The other machine: how it is reached, and what runs there for a login."""
