"""What is wrong, and what to do: facts first, opinions second, findings as values. Changes nothing."""
