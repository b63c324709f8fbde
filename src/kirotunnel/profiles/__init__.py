"""What is known of each remote CLI, as data."""
