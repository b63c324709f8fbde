"""The command line: options in, a flow called, its result rendered."""
