"""Who may do what: permissions, the built-in roles made of them, and the one question `may`. PURE.

A grant gives a role, everywhere or in one project, one environment, or one environment of one project. What is not
granted is refused. A permission asked without an environment (a process, a variable for all environments) touches all
of them, so a grant for one environment does not reach it, unless the permission has nothing to do with environments.
"""

from collections.abc import Collection, Iterable
from enum import StrEnum
from typing import Protocol


class Permission(StrEnum):
    ENVIRONMENT_VIEW = "environment.view"
    ENVIRONMENT_EDIT = "environment.edit"
    LIFECYCLE_VIEW = "lifecycle.view"
    LIFECYCLE_EDIT = "lifecycle.edit"
    PROJECT_VIEW = "project.view"
    PROJECT_CREATE = "project.create"
    PROJECT_EDIT = "project.edit"
    PROCESS_EDIT = "process.edit"
    VARIABLE_VIEW = "variable.view"
    VARIABLE_EDIT = "variable.edit"
    VARIABLE_SET_EDIT = "variable-set.edit"
    RELEASE_CREATE = "release.create"
    RELEASE_DELETE = "release.delete"
    DEPLOYMENT_CREATE = "deployment.create"
    RUN_CREATE = "run.create"
    TASK_VIEW = "task.view"
    TASK_CANCEL = "task.cancel"
    QUEUE_EDIT = "queue.edit"  # Pause and resume; who goes before whom.
    TARGET_VIEW = "target.view"
    TARGET_EDIT = "target.edit"
    TARGET_CHECK = "target.check"
    MACHINE_POLICY_EDIT = "machine-policy.edit"  # Its script runs on every target that has it.
    ACCOUNT_VIEW = "account.view"
    ACCOUNT_EDIT = "account.edit"
    SPOKE_VIEW = "spoke.view"
    SPOKE_APPROVE = "spoke.approve"
    JOIN_CODE_EDIT = "join-code.edit"
    PACKAGE_VIEW = "package.view"
    PACKAGE_PUSH = "package.push"
    PACKAGE_DELETE = "package.delete"
    USER_VIEW = "user.view"
    USER_EDIT = "user.edit"
    GRANT_EDIT = "grant.edit"
    API_KEY_EDIT = "api-key.edit"  # Other people's; one's own need none.
    KEY_EDIT = "key.edit"  # The hub's own keys: to see and to rotate them.
    EVENT_VIEW = "event.view"
    CONSUMER_EDIT = "consumer.edit"  # Who hears events over AMQP, and may send commands that way.
    METRICS = "metrics"


class RoleName(StrEnum):
    SYSTEM_ADMIN = "system-admin"
    PROJECT_ADMIN = "project-admin"
    DEPLOYER = "deployer"
    VIEWER = "viewer"


_VIEWER = frozenset({
    Permission.ENVIRONMENT_VIEW, Permission.LIFECYCLE_VIEW, Permission.PROJECT_VIEW, Permission.VARIABLE_VIEW,
    Permission.TASK_VIEW, Permission.TARGET_VIEW, Permission.PACKAGE_VIEW,
})  # fmt: skip
_DEPLOYER = _VIEWER | {
    Permission.RELEASE_CREATE, Permission.DEPLOYMENT_CREATE, Permission.TASK_CANCEL, Permission.PACKAGE_PUSH,
}  # fmt: skip
_PROJECT_ADMIN = _DEPLOYER | {
    Permission.PROJECT_EDIT, Permission.PROCESS_EDIT, Permission.VARIABLE_EDIT, Permission.RELEASE_DELETE,
    Permission.EVENT_VIEW, Permission.QUEUE_EDIT,
}  # fmt: skip

ROLES: dict[str, frozenset[Permission]] = {
    RoleName.SYSTEM_ADMIN: frozenset(Permission),
    RoleName.PROJECT_ADMIN: _PROJECT_ADMIN,
    RoleName.DEPLOYER: _DEPLOYER,
    RoleName.VIEWER: _VIEWER,
}

# What everyone with any role sees of the shared things that his own work names.
PROJECT_FREE = frozenset({
    Permission.ENVIRONMENT_VIEW, Permission.LIFECYCLE_VIEW, Permission.TARGET_VIEW, Permission.PACKAGE_VIEW,
})  # fmt: skip
ENVIRONMENT_FREE = PROJECT_FREE | {
    Permission.PROJECT_VIEW, Permission.VARIABLE_VIEW, Permission.RELEASE_CREATE, Permission.PACKAGE_PUSH,
}  # fmt: skip


class HeldGrant(Protocol):
    """A grant as `may` needs it: ids or None. Rows of `Grant` are such."""

    @property
    def role(self) -> str: ...
    @property
    def project(self) -> str | None: ...
    @property
    def environment(self) -> str | None: ...


def may(
    grants: Iterable[HeldGrant],
    permission: Permission,
    project: str | None = None,
    environment: str | None = None,
    scopes: Collection[str] | None = None,
) -> bool:
    """Whether one of the grants gives the permission on what is asked.

    Args:
        grants: All that the caller holds.
        permission: What the caller wants to do.
        project: The id of the project it happens in; None: in none, or in all.
        environment: Alike.
        scopes: The permissions an API key is limited to; None: it has no limit of its own.
    """
    if scopes is not None and permission not in scopes:
        return False
    return any(
        permission in ROLES.get(grant.role, frozenset())
        and (grant.project is None or grant.project == project or permission in PROJECT_FREE)
        and (grant.environment is None or grant.environment == environment or permission in ENVIRONMENT_FREE)
        for grant in grants
    )


def projects_where(
    grants: Iterable[HeldGrant], permission: Permission, scopes: Collection[str] | None = None
) -> frozenset[str] | None:
    """The projects in which the permission holds at least somewhere, for the filter of a list; None: in all."""
    if scopes is not None and permission not in scopes:
        return frozenset()
    holding = [grant for grant in grants if permission in ROLES.get(grant.role, frozenset())]
    if any(grant.project is None for grant in holding):
        return None
    return frozenset(grant.project for grant in holding if grant.project is not None)


def environments_where(
    grants: Iterable[HeldGrant],
    permission: Permission,
    project: str | None = None,
    scopes: Collection[str] | None = None,
) -> frozenset[str] | None:
    """The environments in which the permission holds for a project; None: in all."""
    if scopes is not None and permission not in scopes:
        return frozenset()
    holding = [
        grant
        for grant in grants
        if permission in ROLES.get(grant.role, frozenset())
        and (grant.project is None or grant.project == project or permission in PROJECT_FREE)
    ]
    if any(grant.environment is None or permission in ENVIRONMENT_FREE for grant in holding):
        return None
    return frozenset(grant.environment for grant in holding if grant.environment is not None)


def is_within(grants: Iterable[HeldGrant], role: str, project: str | None, environment: str | None) -> bool:
    """Whether someone who holds these grants may hand out this role there: never more than he has himself."""
    held = list(grants)
    return role in ROLES and all(may(held, permission, project, environment) for permission in ROLES[role])
