"""The use-cases; each reads like the README."""
