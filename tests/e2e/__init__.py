"""The command itself, end to end: real SSH servers, real processes, the strict stand-in CLI, robots and browsers."""
