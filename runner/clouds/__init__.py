"""The catalogue of clouds: a file each, which offers CLOUD."""

from __future__ import annotations

from runner.catalogue import entry
from runner.cloud import Cloud


def find_cloud(kind: str) -> Cloud:
    """The cloud of an account's kind, such as `aws`; raises StepUnknown."""
    cloud: Cloud = entry("clouds", kind, "kind of cloud account").CLOUD
    return cloud
