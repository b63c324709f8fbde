"""From what the person typed to where it is."""
