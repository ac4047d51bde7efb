"""All operations by name: what is not listed here cannot be asked for."""

from types import MappingProxyType
from typing import Any

from hub.operations import (
    access,
    accounts,
    apply,
    consumers,
    deploying,
    environments,
    infrastructure,
    lifecycles,
    machine_policies,
    packages,
    projects,
    queue,
    reached_targets,
    releases,
    setting_up,
    trust,
    variables,
    work,
)
from hub.operations.operation import Operation

_MODULES = (
    environments,
    lifecycles,
    projects,
    variables,
    releases,
    deploying,
    work,
    queue,
    infrastructure,
    machine_policies,
    accounts,
    reached_targets,
    packages,
    access,
    trust,
    setting_up,
    consumers,
    apply,
)

CATALOGUE: MappingProxyType[str, Operation[Any]] = MappingProxyType(
    {operation.name: operation for module in _MODULES for operation in module.OPERATIONS}
)
