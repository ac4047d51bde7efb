"""The catalogue of page families: one file adds one, and a line here."""

from flask import Blueprint

from portal.pages import (
    account,
    adding,
    audit,
    dashboard,
    keys,
    packages,
    projects,
    queue,
    releases,
    setup,
    spokes,
    targets,
    tasks,
)

ALL_PAGES: tuple[Blueprint, ...] = (
    dashboard.pages,
    projects.pages,
    releases.pages,
    tasks.pages,
    queue.pages,
    targets.pages,
    adding.pages,
    spokes.pages,
    packages.pages,
    audit.pages,
    keys.pages,
    account.pages,
    setup.pages,
)
