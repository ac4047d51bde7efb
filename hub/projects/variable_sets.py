"""Variable sets: values that several projects include."""

from hub.errors import Conflict
from hub.projects import finding
from hub.states import VariableOwner
from hub.storage.models import Project, ProjectVariableSet, Variable, VariableSet


def create(name: str, description: str = "") -> VariableSet:
    finding.refuse_taken_name(VariableSet, name, "variable set")
    return VariableSet.create(name=name, description=description)


def update(row: VariableSet, *, name: str, description: str, if_version: int) -> VariableSet:
    finding.check_version(row, if_version)
    finding.refuse_taken_name(VariableSet, name, "variable set", but=row.id)
    row.name, row.description = name, description
    row.version += 1
    row.save()
    return row


def delete(row: VariableSet) -> None:
    users = projects_with(row)
    if users:
        raise Conflict(f"variable set {row.name!r} is included by {', '.join(p.name for p in users)}")
    Variable.delete().where((Variable.owner_kind == VariableOwner.SET) & (Variable.owner == row.id)).execute()
    row.delete_instance()


def projects_with(row: VariableSet) -> list[Project]:
    return list(
        Project.select()
        .join(ProjectVariableSet, on=(ProjectVariableSet.project == Project.id))
        .where(ProjectVariableSet.variable_set == row.id)
        .order_by(Project.name)
    )
