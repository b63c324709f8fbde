"""A zoo of command lines that sign in by a callback to localhost: each has one habit of real ones.

Every creature is a program for the remote's own Python and needs nothing but `keeper.py` beside it. Its docstring says
whose habit it is. What came to its listeners stands in the log that ZOO_LOG names, so that a test can say exactly who
reached it. They ask no provider: a code is right if it is the one that belongs to the state (`keeper.code_for`).
"""
