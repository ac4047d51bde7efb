"""Who may do what, as a table."""

from dataclasses import dataclass

import pytest

from hub.permissions import (
    ROLES,
    Permission,
    RoleName,
    environments_where,
    is_within,
    may,
    projects_where,
)


@dataclass(frozen=True)
class Held:
    role: str
    project: str | None = None
    environment: str | None = None


ADMIN = Held("system-admin")
DEPLOYER = Held("deployer", "shop")
DEV_DEPLOYER = Held("deployer", "shop", "dev")
DEV_ANY = Held("deployer", None, "dev")
EDITOR = Held("project-admin", "shop")
DEV_EDITOR = Held("project-admin", "shop", "dev")
VIEWER = Held("viewer")

P = Permission


@pytest.mark.parametrize(
    ("grants", "permission", "project", "environment", "expected"),
    [
        ([], P.PROJECT_VIEW, "shop", None, False),
        ([ADMIN], P.USER_EDIT, None, None, True),
        ([ADMIN], P.DEPLOYMENT_CREATE, "shop", "prod", True),
        ([DEPLOYER], P.DEPLOYMENT_CREATE, "shop", "prod", True),
        ([DEPLOYER], P.DEPLOYMENT_CREATE, "bank", "prod", False),
        ([DEPLOYER], P.PROCESS_EDIT, "shop", None, False),
        ([DEPLOYER], P.PROJECT_VIEW, None, None, False),
        ([DEPLOYER], P.TARGET_VIEW, None, None, True),
        ([DEPLOYER], P.RUN_CREATE, None, None, False),
        ([DEV_DEPLOYER], P.DEPLOYMENT_CREATE, "shop", "dev", True),
        ([DEV_DEPLOYER], P.DEPLOYMENT_CREATE, "shop", "prod", False),
        ([DEV_DEPLOYER], P.DEPLOYMENT_CREATE, "shop", None, False),
        ([DEV_DEPLOYER], P.PROJECT_VIEW, "shop", None, True),
        ([DEV_DEPLOYER], P.RELEASE_CREATE, "shop", None, True),
        ([DEV_DEPLOYER], P.TASK_CANCEL, "shop", "prod", False),
        ([DEV_ANY], P.DEPLOYMENT_CREATE, "bank", "dev", True),
        ([DEV_ANY], P.DEPLOYMENT_CREATE, "bank", "prod", False),
        ([EDITOR], P.VARIABLE_EDIT, "shop", None, True),
        ([DEV_EDITOR], P.VARIABLE_EDIT, "shop", "dev", True),
        ([DEV_EDITOR], P.VARIABLE_EDIT, "shop", "prod", False),
        ([DEV_EDITOR], P.VARIABLE_EDIT, "shop", None, False),
        ([DEV_EDITOR], P.PROCESS_EDIT, "shop", None, False),
        ([EDITOR], P.GRANT_EDIT, None, None, False),
        ([EDITOR], P.SPOKE_APPROVE, None, None, False),
        ([VIEWER], P.TASK_VIEW, "bank", "prod", True),
        ([VIEWER], P.TASK_CANCEL, "bank", "prod", False),
        ([VIEWER], P.EVENT_VIEW, None, None, False),
        ([VIEWER, DEV_DEPLOYER], P.DEPLOYMENT_CREATE, "shop", "dev", True),
        ([Held("no-such-role")], P.PROJECT_VIEW, "shop", None, False),
    ],
)
def test_a_grant_reaches_as_far_as_it_says(grants, permission, project, environment, expected):
    assert may(grants, permission, project, environment) is expected


def test_a_scope_takes_away_and_never_adds():
    assert may([ADMIN], P.PROJECT_VIEW, "shop", scopes=["project.view"])
    assert not may([ADMIN], P.USER_EDIT, scopes=["project.view"])
    assert not may([VIEWER], P.USER_EDIT, scopes=["user.edit"])
    assert not may([ADMIN], P.USER_EDIT, scopes=[])


def test_lists_are_filtered_by_where_the_permission_holds():
    assert projects_where([ADMIN, DEPLOYER], P.PROJECT_VIEW) is None
    assert projects_where([DEPLOYER, Held("viewer", "bank")], P.PROJECT_VIEW) == {"shop", "bank"}
    assert projects_where([DEPLOYER, Held("viewer", "bank")], P.DEPLOYMENT_CREATE) == {"shop"}
    assert projects_where([ADMIN], P.PROJECT_VIEW, scopes=["task.view"]) == frozenset()
    assert environments_where([DEV_DEPLOYER], P.DEPLOYMENT_CREATE, "shop") == {"dev"}
    assert environments_where([DEV_DEPLOYER], P.DEPLOYMENT_CREATE, "bank") == frozenset()
    assert environments_where([DEV_DEPLOYER], P.PROJECT_VIEW, "shop") is None
    assert environments_where([DEPLOYER], P.DEPLOYMENT_CREATE, "shop") is None
    assert environments_where([ADMIN], P.DEPLOYMENT_CREATE, scopes=["task.view"]) == frozenset()


def test_nobody_hands_out_more_than_he_has():
    assert is_within([ADMIN], RoleName.SYSTEM_ADMIN, None, None)
    assert is_within([EDITOR], RoleName.DEPLOYER, "shop", None)
    assert is_within([EDITOR], RoleName.DEPLOYER, "shop", "dev")
    assert not is_within([EDITOR], RoleName.DEPLOYER, None, None)
    assert not is_within([EDITOR], RoleName.SYSTEM_ADMIN, "shop", None)
    assert not is_within([DEV_EDITOR], RoleName.DEPLOYER, "shop", None)
    assert not is_within([ADMIN], "no-such-role", None, None)


def test_roles_grow_from_viewer_to_admin():
    viewer, deployer, editor, admin = (ROLES[name] for name in ("viewer", "deployer", "project-admin", "system-admin"))
    assert viewer < deployer < editor < admin == frozenset(Permission)
