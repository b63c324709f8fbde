"""`python -m fuzz TARGET [libFuzzer's options and directories]`: fuzz one target until something does not hold."""

from __future__ import annotations

import sys

import atheris
import joserfc.jws  # noqa: F401 - loaded lazily by ours; atheris' hooks would meet its patterns of bytes, and break

# What is imported in here gets the counters by which the fuzzer sees that an input led somewhere new.
with atheris.instrument_imports(include=["kirotunnel", "h11"]):
    from fuzz.targets import TARGETS


# Comparisons of texts and regular expressions lead the fuzzer to the words that they look for. A profile's expressions
# are what is fuzzed: for `a{999999999}` the hook would write down a text that it finds.
for hook in ("str", "RegEx"):
    if (hook, *sys.argv[1:2]) != ("RegEx", "profile"):
        atheris.enabled_hooks.add(hook)


def main() -> None:
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        sys.exit(f"there is no target {name!r}, but {', '.join(TARGETS)}")
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
