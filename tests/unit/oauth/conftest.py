"""Properties are tried here as they are among the properties: without a clock, the same examples each time."""

import properties.conftest  # noqa: F401 - loads the profile
