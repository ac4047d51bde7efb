"""How a plan says where a machine is and with what one gets in; and when there can be no plan."""

from types import SimpleNamespace

import pytest

from hub.infrastructure import accounts
from hub.infrastructure.accounts import AccountRequest
from hub.orchestrator import task_log
from hub.orchestrator.endpoints import AccountInput
from hub.orchestrator.errors import PlanImpossible
from hub.orchestrator.plan_codec import decode_plan, encode_plan, shown
from hub.orchestrator.planner import StepInput, VariableInput, plan
from hub.states import AccountKind, JobState, TargetKind, TaskState
from hub.storage.database import write_tx
from hub.storage.models import Account, Job
from runner.contract.job import Job as RunnerJob
from tests.hub.orchestrator.plans import counted, inputs, target
from tests.hub.orchestrator.rig import Rig, Run
from wire.messages import Op

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1hbnlhcm0gbWFueWFybSBtYW55YXJtIG1hbnlhcm0h"
SSH = {"host": "10.0.0.7", "port": 2222, "user": "", "host_key": HOST_KEY, "account": "acc-1"}
CLOUD = {"account": "acc-2", "region": "eu-west-1", "properties": {"bucket": "www"}}
DEPLOY = AccountInput("acc-1", "deploy", AccountKind.SSH_KEY, {"user": "deploy"}, ("passphrase", "private_key"))
AWS = AccountInput("acc-2", "Shop AWS", AccountKind.AWS, {"access_key_id": "AKIA"}, ("secret_access_key",))
ACCOUNTS = {name: each for each in (DEPLOY, AWS) for name in (each.id, each.name.lower())}
RUN = StepInput("work", "run-script")


def planned(step, *targets, **more):
    return plan(inputs([step], targets, **{"accounts": ACCOUNTS, **more}), counted())


def ssh(**more):
    return target("web-1", kind=TargetKind.SSH, endpoint={**SSH, **more})


def told(found):
    return found.steps[0].batches[0][0]


def test_an_ssh_target_takes_endpoint_and_credentials_along_and_the_runner_hears_of_neither_secret():
    found = planned(RUN, ssh(), variables=(VariableInput("Token", secret_row="row-1"),))
    job = told(found)
    assert job.target.endpoint == {
        "kind": "ssh", "host": "10.0.0.7", "port": 2222, "user": "deploy", "host_key": HOST_KEY, "home": "",
        "python": "", "account_kind": "ssh-key", "allow_weak": False,
    }  # fmt: skip
    assert found.secrets_of(job) == {
        "Token": "row-1",
        "Manyarm.Endpoint.private_key": "account:acc-1:private_key",
        "Manyarm.Endpoint.passphrase": "account:acc-1:passphrase",
    }
    assert found.job_json(job.id)["endpoint"] == job.target.endpoint
    assert found.job_json(job.id)["secret_names"] == ["Token"]
    assert found.job(job.id).secret_names == ("Token",)
    assert "Endpoint" not in str(shown(found))


def test_a_user_of_the_target_wins_over_that_of_the_account():
    assert told(planned(RUN, ssh(user="ops"))).target.endpoint["user"] == "ops"


def test_a_cloud_target_gives_the_run_its_account():
    found = planned(RUN, target("shop", kind=TargetKind.CLOUD, endpoint=CLOUD))
    job = told(found)
    assert job.target.endpoint == {
        "kind": "cloud", "region": "eu-west-1", "properties": {"bucket": "www"},
        "account": {"kind": "aws", "name": "Shop AWS", "fields": {"access_key_id": "AKIA"}},
    }  # fmt: skip
    assert found.secrets_of(job) == {"Manyarm.Account.secret_access_key": "account:acc-2:secret_access_key"}
    read = RunnerJob.from_json(found.job_json(job.id))
    assert read.endpoint == job.target.endpoint
    assert read.secret_names == ("Manyarm.Account.secret_access_key",)


def test_a_step_on_the_hub_may_name_an_account():
    hub = target("hub", kind=TargetKind.LOCAL)
    step = StepInput("sync", "run-script", on="hub", properties={"account": "Shop AWS"})
    found = plan(inputs([step], [], hub_targets=(hub,), accounts=ACCOUNTS), counted())
    assert told(found).target.endpoint["account"]["name"] == "Shop AWS"
    plain = plan(inputs([StepInput("sync", "run-script", on="hub")], [], hub_targets=(hub,)), counted())
    assert "endpoint" not in plain.job_json(told(plain).id)


def test_a_machine_with_a_spoke_of_its_own_has_no_endpoint():
    found = planned(RUN, target("web-1"))
    assert told(found).target.endpoint == {}
    assert "endpoint" not in found.job_json(told(found).id)


def test_endpoints_come_back_from_a_plans_bytes():
    found = planned(RUN, ssh())
    assert decode_plan(encode_plan(found)) == found


def test_a_scan_says_where_and_brings_no_credentials():
    job = told(found := planned(StepInput("scan", "check", op=Op.SCAN_HOST_KEY), ssh(host_key="", account="gone")))
    assert job.target.endpoint == {"host": "10.0.0.7", "port": 2222}
    assert found.secrets_of(job) == {}


def test_a_check_of_an_ssh_target_logs_in():
    found = planned(StepInput("check", "check", op=Op.CHECK), ssh())
    assert "Manyarm.Endpoint.private_key" in found.secrets_of(told(found))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"host_key": ""}, "host key of target 'web-1' is not confirmed"),
        ({"account": "other"}, "its account 'other' is gone"),
        ({"account": ""}, "its account is gone"),
        ({"account": "acc-2"}, "account 'Shop AWS' is of the kind aws; expected one of password, ssh-key"),
    ],
)
def test_what_cannot_be_reached_makes_no_plan(row, sentence):
    with pytest.raises(PlanImpossible, match=sentence):
        planned(RUN, ssh(**row))


def test_an_account_is_used_only_where_it_may_be():
    elsewhere = AccountInput("acc-1", "deploy", AccountKind.PASSWORD, environments=frozenset({"env-test"}))
    with pytest.raises(PlanImpossible, match="may not be used in this environment"):
        planned(RUN, ssh(), accounts={"acc-1": elsewhere})
    altered = AccountInput("acc-1", "deploy", AccountKind.PASSWORD, unusable="it was changed outside the hub")
    with pytest.raises(PlanImpossible, match="'deploy' cannot be used: it was changed outside the hub"):
        planned(RUN, ssh(), accounts={"acc-1": altered})


def test_a_step_that_names_an_account_does_not_run_on_machines():
    step = StepInput("work", "run-script", properties={"account": "Shop AWS"})
    for machine in (ssh(), target("web-1")):
        with pytest.raises(PlanImpossible, match="runs on the hub or on cloud targets"):
            planned(step, machine)


def test_no_variable_passes_itself_off_as_a_credential():
    typed = {"Manyarm.Endpoint.private_key": "mine", "Manyarm.Account.secret_access_key": "mine"}
    secret = VariableInput("Manyarm.Endpoint.passphrase", secret_row="row-1")
    found = planned(RUN, target("web-1"), variables=(secret,), overrides=typed)
    assert found.secrets_of(told(found)) == {}
    assert not typed.keys() & found.job_json(told(found).id)["variables"].keys()


@pytest.fixture
def rig(installed_hub_on_each):
    made = Rig(installed_hub_on_each)
    yield made
    made.close()


def ssh_spoke(rig, work):
    """A spoke that serves web-1 over SSH, and the account that the target names."""
    spoke = rig.spoke("web-1", work).start()
    acting = SimpleNamespace(caller=rig.context.caller, now_ms=0, vault=rig.hub.vault, seals=rig.hub.seals)
    with write_tx():
        wanted = AccountRequest("deploy", AccountKind.PASSWORD, {"user": "deploy"}, {"password": "a long passphrase"})
        account = accounts.create_account(acting, wanted)
        spoke.target.kind, spoke.target.endpoint = TargetKind.SSH, {**SSH, "account": account.id}
        spoke.target.version += 1
        rig.hub.seals.seal(spoke.target)
        spoke.target.save()
    return spoke, account


def test_the_command_carries_endpoint_and_opened_credentials_and_logs_are_masked(rig):
    spoke, _ = ssh_spoke(rig, lambda _: Run(("got in with a long passphrase\n",)))
    rig.engine.start()
    task = rig.ended(rig.run("hello", spoke))
    command = spoke.journal[Job.get(Job.task == task.id).id].command
    assert command.job["endpoint"]["user"] == "deploy"
    assert command.secrets == {"Manyarm.Endpoint.password": "a long passphrase"}
    assert command.job["secret_names"] == []
    assert [line.text for line in task_log.read(rig.hub.vault, task.id, target="web-1")[0]] == ["got in with ***"]


def test_an_account_that_was_deleted_since_fails_the_job_in_words(rig):
    spoke, account = ssh_spoke(rig, lambda _: Run())
    task = rig.run("hello", spoke)
    with write_tx():
        Account.delete().where(Account.id == account.id).execute()
    rig.engine.start()
    rig.ended(task, TaskState.FAILED)
    job = Job.get(Job.task == task.id)
    assert job.state is not JobState.SUCCEEDED
    assert "account that the target or the step names was deleted" in job.message


def test_an_account_that_was_changed_outside_the_hub_makes_no_plan(rig):
    spoke, account = ssh_spoke(rig, lambda _: Run())
    Account.update(fields={"user": "root"}).where(Account.id == account.id).execute()
    with pytest.raises(PlanImpossible, match="changed outside the hub"):
        rig.run("hello", spoke)
