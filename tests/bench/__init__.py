"""What kirotunnel costs, beside what a person would use instead: `scripts/bench`."""
