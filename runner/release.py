"""Which runner this is: a number that only grows, and the version that people read."""

RELEASE = 1
SEMVER = "0.1.0"
MIN_PYTHON = "3.9"
