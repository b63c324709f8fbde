"""Command lines of others, unmodified, and what each needs to sign in at the tests' provider instead of its own."""
