"""Coverage-guided fuzzing of everything that reads a remote's bytes, or a stranger's on the callback port."""
