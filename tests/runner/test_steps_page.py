"""docs/steps.md: its tables are what step kinds declare, its steps are taken by the hub, and its examples do as they say."""

import hashlib
import re

import pytest
from ruamel.yaml import YAML

from hub.projects.process import StepBody, normal_form
from runner.contract.step_kind import read_step_kinds
from runner.steps import step_kinds
from tests.fakes.http_server import fake_server, response
from tests.runner.rig import make_zip
from tests.runner.step_examples import TEXT, example
from tests.runner.step_tables import BEGIN, tables

KINDS = read_step_kinds(step_kinds())
STEPS = re.findall(r"```yaml\n(- name: .*?)```", TEXT, re.DOTALL)


def read(text):
    return YAML(typ="safe").load(text)


def run(rig, step, properties, files=None, secrets=None, **variables):
    more = {}
    if step.get("package"):
        package = make_zip(rig.home / "p.zip", files or {"index.html": "hello"})
        more["package"] = {
            "id": step["package"],
            "version": "1.0.0",
            "extension": "zip",
            "manifest_id": "5" * 32,
            "sha256": digest(package),
        }
    job = rig.job(step["kind"], properties, variables={"Manyarm.Environment.Name": "Production", **variables}, **more)
    ran = rig.run(job, secrets, packages={"5" * 32: str(package)} if more else {})
    assert ran.outcome["state"] == "succeeded", ran.text()
    return ran.text()


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def below(rig, properties):
    """The example's places below a folder of the test."""
    return {
        name: value.replace("/srv/", f"{rig.home}/srv/") if isinstance(value, str) else value
        for name, value in properties.items()
    }


def test_the_tables_are_what_the_kinds_declare():
    """Else: .venv/bin/python -m tests.runner.step_tables."""
    assert TEXT.partition(BEGIN)[2].strip("\n") == tables().strip("\n"), "run: python -m tests.runner.step_tables"
    for kind in KINDS.values():
        for prop in kind.properties:
            assert prop.help.endswith("."), (kind.name, prop.name)


@pytest.mark.parametrize("text", STEPS, ids=[text.partition("kind: ")[2].partition("\n")[0] for text in STEPS])
def test_the_hub_takes_each_step_of_the_page(text):
    steps = [StepBody.model_validate(step) for step in read(text)]
    assert normal_form(steps, KINDS, lambda ref: f"id of {ref}")


def test_the_health_check_answers_as_the_page_says(rig):
    step, more = example("http-check")
    with fake_server(response(more["answers"], Content_Type="application/json")) as server:
        text = run(rig, step, step["properties"], secrets={"ApiKey": "k3y-of-the-app"}, Port=str(server.port))
        assert more["gives"].replace("#{Port}", str(server.port)) in text
        assert b"X-Api-Key: k3y-of-the-app\r\n" in server.asked[0]


def test_the_package_lies_where_the_page_says(rig):
    step, more = example("transfer-package")
    (rig.home / "srv").mkdir()
    goal = more["gives"].replace("/srv/", f"{rig.home}/srv/")
    assert goal in run(rig, step, below(rig, step["properties"]))


def test_the_migrations_run_as_the_page_says(rig):
    step, more = example("sql-migrations")
    (rig.home / "srv").mkdir()
    text = run(rig, step, below(rig, step["properties"]), files=read(more["files"]))
    assert more["gives"] in text
