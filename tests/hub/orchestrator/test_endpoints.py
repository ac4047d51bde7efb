"""How a plan says where a machine is and with what one gets in; and when there can be no plan."""

import base64
import struct
from types import SimpleNamespace

import pytest

from hub.errors import Conflict
from hub.infrastructure import accounts, host_keys, reached_targets, targets
from hub.infrastructure.accounts import AccountRequest
from hub.infrastructure.endpoint_body import EndpointBody
from hub.infrastructure.ssh_input import fingerprint_of
from hub.orchestrator import task_log
from hub.orchestrator.endpoints import AccountInput
from hub.orchestrator.errors import PlanImpossible
from hub.orchestrator.plan_codec import decode_plan, encode_plan, shown
from hub.orchestrator.planner import StepInput, VariableInput, plan
from hub.states import AccountKind, Health, JobState, TargetKind, TaskState
from hub.storage.database import write_tx
from hub.storage.models import Account, Job, Target
from runner.contract.job import Job as RunnerJob
from tests.hub.orchestrator.plans import counted, inputs, target
from tests.hub.orchestrator.rig import Rig, Run
from wire.messages import Op

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1hbnlhcm0gbWFueWFybSBtYW55YXJtIG1hbnlhcm0h"
OTHER_KEY = f"ssh-ed25519 {base64.b64encode(struct.pack('>I', 11) + b'ssh-ed25519' + bytes(36)).decode()}"
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
        "python": "", "account_kind": "ssh-key", "allow_weak": False, "allow_inner": False,
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
    assert job.target.endpoint == {"host": "10.0.0.7", "port": 2222, "allow_inner": False}
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


def acting(rig):
    return SimpleNamespace(caller=rig.context.caller, now_ms=1, vault=rig.hub.vault, seals=rig.hub.seals)


def ssh_spoke(rig, work):
    """A spoke that serves web-1 over SSH, and the account that the target names."""
    spoke = rig.spoke("web-1", work).start()
    with write_tx():
        wanted = AccountRequest("deploy", AccountKind.PASSWORD, {"user": "deploy"}, {"password": "a long passphrase"})
        account = accounts.create_account(acting(rig), wanted)
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


def refused_by_another_key(command, found="SHA256:" + "x" * 43):
    return Run(state="failed", message=f"SSH_HOSTKEY: expected {fingerprint_of(HOST_KEY)}, found {found}", begun=False)


def test_a_changed_host_key_stops_the_target_with_both_fingerprints_until_it_is_confirmed(rig):
    spoke, _ = ssh_spoke(rig, refused_by_another_key)
    rig.engine.start()
    task = rig.ended(rig.run("hello", spoke), TaskState.FAILED)
    found = spoke.target = Target.get_by_id(spoke.target.id)
    reason = f"host key changed: expected {fingerprint_of(HOST_KEY)}, found SHA256:{'x' * 43}"
    assert (found.health, found.health_reason, found.disabled_reason) == (
        Health.UNHEALTHY,
        reason,
        f"SSH_HOSTKEY: {reason}",
    )
    assert rig.hub.seals.holds(found)
    assert any(reason in line.text for line in task_log.read(rig.hub.vault, task.id)[0])
    with pytest.raises(PlanImpossible, match="it is disabled: SSH_HOSTKEY"):
        rig.run("hello", spoke)
    with pytest.raises(Conflict, match="compare and confirm"), write_tx():
        targets.enable_target(acting(rig), found.id)
    with write_tx():
        again = host_keys.confirm_host_key(acting(rig), Target.get_by_id(found.id), host_key=OTHER_KEY)
    assert (again.disabled_at, again.endpoint["host_key"], again.health) == (None, OTHER_KEY, Health.UNKNOWN)
    assert "changed_to" not in again.endpoint


def test_what_a_script_says_of_host_keys_stops_nothing(rig):
    spoke, _ = ssh_spoke(rig, lambda command: Run(state="failed", message=refused_by_another_key(command).message))
    rig.engine.start()
    rig.ended(rig.run("hello", spoke), TaskState.FAILED)
    assert Target.get_by_id(spoke.target.id).disabled_at is None


def test_a_key_that_is_pinned_no_more_stops_nothing(rig):
    spoke, _ = ssh_spoke(rig, refused_by_another_key)
    task = rig.run("hello", spoke)
    with write_tx():
        host_keys.confirm_host_key(acting(rig), Target.get_by_id(spoke.target.id), host_key=OTHER_KEY)
    rig.engine.start()
    rig.ended(task, TaskState.FAILED)
    assert Target.get_by_id(spoke.target.id).disabled_at is None


def test_a_scan_of_a_disabled_target_goes_out(rig):
    spoke, _ = ssh_spoke(rig, lambda _: Run(outputs=(("host_key", OTHER_KEY, False),)))
    with write_tx():
        targets.disable_target(acting(rig), spoke.target.id, "SSH_HOSTKEY: x")
    rig.engine.start()
    with write_tx():
        task = rig.engine.orchestrator.submit_scan(rig.context, Target.get_by_id(spoke.target.id))
    rig.ended(task)
    command = spoke.journal[Job.get(Job.task == task.id).id].command
    assert (command.op, command.secrets, command.packages) == (Op.SCAN_HOST_KEY, {}, ())
    scanned = host_keys.last_scan(Target.get_by_id(spoke.target.id))
    assert (scanned.host_key, scanned.fingerprint) == (OTHER_KEY, fingerprint_of(OTHER_KEY))


def test_what_was_scanned_at_a_former_address_is_not_offered_for_the_present_one(rig):
    spoke, _ = ssh_spoke(rig, lambda _: Run(outputs=(("host_key", OTHER_KEY, False),)))
    rig.engine.start()
    with write_tx():
        task = rig.engine.orchestrator.submit_scan(rig.context, Target.get_by_id(spoke.target.id))
    rig.ended(task)
    later = SimpleNamespace(**{**vars(acting(rig)), "now_ms": task.created_at + 1})
    with write_tx():
        row = Target.get_by_id(spoke.target.id)
        reached_targets.change_endpoint(later, row, EndpointBody(port=2223), allow_inner=True)
    assert host_keys.last_scan(Target.get_by_id(spoke.target.id)) is None
    row = Target.get_by_id(spoke.target.id)
    with pytest.raises(Conflict, match="nothing was scanned yet"):
        host_keys.confirm_host_key(later, row, fingerprint=fingerprint_of(OTHER_KEY))


def test_a_key_that_changes_amid_a_run_stops_the_target_too(rig):
    spoke, _ = ssh_spoke(
        rig, lambda command: Run(state="unknown", message="lost", known=refused_by_another_key(command).message)
    )
    rig.engine.start()
    rig.ended(rig.run("hello", spoke), TaskState.UNKNOWN)
    assert Target.get_by_id(spoke.target.id).disabled_reason.startswith("SSH_HOSTKEY: host key changed")


def test_what_is_done_again_goes_to_the_key_that_was_confirmed_since(rig):
    spoke, _ = ssh_spoke(rig, refused_by_another_key)
    rig.engine.start()
    task = rig.ended(rig.run("hello", spoke), TaskState.FAILED)
    with pytest.raises(PlanImpossible, match="'web-1': it is disabled"), write_tx():
        rig.engine.orchestrator.retry(rig.context, task)
    with write_tx():
        host_keys.confirm_host_key(acting(rig), Target.get_by_id(spoke.target.id), host_key=OTHER_KEY)
    spoke.work = lambda _: Run()
    with write_tx():
        again = rig.engine.orchestrator.retry(rig.context, task)
    rig.ended(again)
    command = spoke.journal[Job.get(Job.task == again.id).id].command
    assert command.job["endpoint"]["host_key"] == OTHER_KEY
    assert command.secrets == {"Manyarm.Endpoint.password": "a long passphrase"}


def test_an_endpoint_that_was_changed_outside_the_hub_takes_no_part(rig):
    spoke, _ = ssh_spoke(rig, lambda _: Run())
    Target.update(endpoint={**spoke.target.endpoint, "host": "elsewhere"}).execute()
    with pytest.raises(PlanImpossible, match="changed outside the hub"):
        rig.run("hello", type(spoke)(rig, spoke.id, Target.get(), spoke.sign, spoke.box, spoke.work, beats=False))
