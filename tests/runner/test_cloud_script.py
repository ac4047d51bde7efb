"""A cloud-script step gives its script the account as the cloud's own tools expect it, for that one run."""

import json

import pytest

from runner.contract.masking import Masker

KEY = {
    "type": "service_account",
    "project_id": "shop-1234",
    "private_key_id": "0123456789abcdef0123",
    "private_key": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n-----END PRIVATE KEY-----\n",
    "client_email": "deployer@shop-1234.iam.gserviceaccount.com",
}
ACCOUNTS = {
    "aws": ({"access_key_id": "AKIAIOSFODNN7EXAMPLE"}, {"secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCY"}),
    "azure": (
        {"tenant_id": "tenant-1", "client_id": "client-1", "subscription_id": "subscription-1"},
        {"client_secret": "az~Secret.Of.The.Client"},
    ),
    "google": ({}, {"json_key": json.dumps(KEY, indent=2)}),
    "generic": ({"SERVICE_URL": "https://service.example"}, {"SERVICE_TOKEN": "t0ken-of-the-service"}),
}
TOOLS = {"aws": "aws", "azure": "az", "google": "gcloud"}


@pytest.fixture
def tools(rig, tmp_path):
    """A folder of programs of our own, before all others on the path of the jobs."""
    folder = tmp_path / "tools"
    folder.mkdir()
    rig.environment["PATH"] = f"{folder}:/usr/bin:/bin"

    def make(name, text='echo "$0 $*" >&2'):
        program = folder / name
        program.write_text(f"#!/bin/bash\n{text}\n")
        program.chmod(0o755)

    return make


@pytest.fixture
def cloud(rig, tools):
    """Runs one cloud-script to its end."""

    def run(kind, script, fields=None, secrets=None, region="eu-central-1", properties=None, **more):
        given_fields, given_secrets = ACCOUNTS.get(kind, ({}, {}))
        endpoint = {
            "kind": "cloud",
            "region": region,
            "properties": {"bucket": "assets"},
            "account": {"kind": kind, "name": "shop", "fields": given_fields if fields is None else fields},
        }
        if kind in TOOLS and "tool" not in (properties or {}):
            tools(TOOLS[kind])
        job = rig.job("cloud-script", {"script": script, **(properties or {})}, endpoint=endpoint, **more)
        values = given_secrets if secrets is None else secrets
        return rig.run(job, {f"Manyarm.Account.{name}": value for name, value in values.items()})

    return run


def digest_of(name):
    """Prints a variable's digest: the value itself would be masked."""
    return f'printf "%s" "${name}" | sha256sum | cut -d" " -f1'


def sha256(text):
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def test_an_aws_key_stands_in_the_environment_with_its_region(cloud):
    run = cloud("aws", f"{digest_of('AWS_SECRET_ACCESS_KEY')}\necho $AWS_ACCESS_KEY_ID $AWS_REGION $AWS_DEFAULT_REGION")
    assert run.outcome["state"] == "succeeded", (run.outcome, run.text())
    digest, rest = run.out.splitlines()
    assert digest == sha256(ACCOUNTS["aws"][1]["secret_access_key"])
    assert rest == "AKIAIOSFODNN7EXAMPLE eu-central-1 eu-central-1"


def test_it_runs_on_every_python_of_a_runner(any_rig, tmp_path):
    (tmp_path / "gcloud").write_text("#!/bin/sh\n")
    (tmp_path / "gcloud").chmod(0o755)
    any_rig.environment["PATH"] = f"{tmp_path}:/usr/bin:/bin"
    endpoint = {"kind": "cloud", "account": {"kind": "google", "name": "shop", "fields": {"project": "other"}}}
    job = any_rig.job("cloud-script", {"script": "echo $GOOGLE_PROJECT"}, endpoint=endpoint)
    run = any_rig.run(job, {"Manyarm.Account.json_key": json.dumps(KEY)})
    assert run.outcome["state"] == "succeeded", (run.outcome, run.text())
    assert run.out == "other\n"


def test_what_the_machine_itself_has_configured_for_aws_does_not_count(cloud):
    run = cloud(
        "aws",
        'test ! -s "$AWS_SHARED_CREDENTIALS_FILE" && test -f "$AWS_CONFIG_FILE" && echo $AWS_EC2_METADATA_DISABLED',
    )
    assert run.out == "true\n"


def test_an_azure_account_is_there_for_libraries_terraform_and_az(cloud, tools):
    tools(
        "az",
        'for word in "$@"; do case $word in @*) sha256sum < "${word#@}" >&2;; *) printf "%s " "$word" >&2;; esac; done; env | grep AZURE_CONFIG_DIR >&2',
    )
    run = cloud(
        "azure",
        f"{digest_of('AZURE_CLIENT_SECRET')}\n{digest_of('ARM_CLIENT_SECRET')}\n"
        "echo $ARM_TENANT_ID $AZURE_CLIENT_ID $ARM_SUBSCRIPTION_ID; ls -d $AZURE_CONFIG_DIR",
        properties={"tool": "bash"},
    )
    assert run.outcome["state"] == "succeeded", (run.outcome, run.text())
    first, second, ids, folder = run.out.splitlines()
    assert first == second == sha256("az~Secret.Of.The.Client")
    assert ids == "tenant-1 client-1 subscription-1"
    assert folder.startswith(str(run.folder))


def test_az_is_signed_in_before_the_script_and_its_secret_stands_on_no_command_line(cloud, rig, tools):
    tools(
        "az",
        'echo "$*" >> "$AZURE_CONFIG_DIR/said"; for w in "$@"; do case $w in @*) cat "${w#@}" | sha256sum >> "$AZURE_CONFIG_DIR/said";; esac; done',
    )
    endpoint = {
        "kind": "cloud", "region": "", "properties": {},
        "account": {"kind": "azure", "name": "shop", "fields": ACCOUNTS["azure"][0]},
    }  # fmt: skip
    job = rig.job("cloud-script", {"script": "cat $AZURE_CONFIG_DIR/said"}, endpoint=endpoint)
    run = rig.run(job, {"Manyarm.Account.client_secret": "az~Secret.Of.The.Client"})
    assert run.outcome["state"] == "succeeded", (run.outcome, run.text())
    login, digest, account = run.out.splitlines()
    assert login.startswith("login --service-principal --username client-1 --tenant tenant-1 --password @/")
    assert digest.split()[0] == sha256("az~Secret.Of.The.Client")
    assert account == "account set --subscription subscription-1"


def test_a_login_that_fails_fails_the_step_with_what_the_tool_said(cloud, rig, tools):
    tools("az", 'echo "AADSTS7000215: Invalid client secret az~Secret.Of.The.Client"; exit 1')
    endpoint = {
        "kind": "cloud", "region": "", "properties": {},
        "account": {"kind": "azure", "name": "shop", "fields": ACCOUNTS["azure"][0]},
    }  # fmt: skip
    run = rig.run(
        rig.job("cloud-script", {"script": "echo never"}, endpoint=endpoint),
        {"Manyarm.Account.client_secret": "az~Secret.Of.The.Client"},
    )
    assert run.outcome["message"] == "`az login` ended with exit code 1: AADSTS7000215: Invalid client secret ***"
    assert "never" not in run.out


def test_a_google_key_is_a_private_file_of_the_run(cloud):
    run = cloud(
        "google",
        'stat -c "%a" $GOOGLE_APPLICATION_CREDENTIALS; sha256sum < $CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE\n'
        "echo $GOOGLE_CLOUD_PROJECT $CLOUDSDK_CORE_PROJECT; ls -d $CLOUDSDK_CONFIG; echo $GOOGLE_APPLICATION_CREDENTIALS",
    )
    assert run.outcome["state"] == "succeeded", (run.outcome, run.text())
    mode, digest, projects, _, path = run.out.splitlines()
    assert mode == "600"
    assert digest.split()[0] == sha256(json.dumps(KEY, indent=2))
    assert projects == "shop-1234 shop-1234"
    assert path.startswith(str(run.folder / "work"))


def test_any_other_account_is_an_environment(cloud):
    run = cloud("generic", f"{digest_of('SERVICE_TOKEN')}; echo $SERVICE_URL $REGION", properties={"tool": "bash"})
    assert run.out.split() == [sha256("t0ken-of-the-service"), "https://service.example", "eu-central-1"]


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "MANYARM_FD", "BASH_ENV", "1X", "A B"])
def test_an_account_does_not_decide_which_programs_run(cloud, name):
    run = cloud("generic", "echo never", fields={name: "/tmp"}, secrets={}, properties={"tool": "bash"})
    assert "cannot be a variable of a script's environment" in run.outcome["message"]
    assert run.out == ""


@pytest.mark.parametrize("kind", sorted(ACCOUNTS))
def test_nothing_of_an_account_is_left_after_the_run(cloud, kind):
    run = cloud(kind, "ls -A", properties={} if kind in TOOLS else {"tool": "bash"})
    assert run.outcome["state"] == "succeeded", (run.outcome, run.text())
    assert ".account" in run.out
    assert not (run.folder / "work" / ".account").exists()
    left = b"".join(path.read_bytes() for path in run.folder.rglob("*") if path.is_file())
    for value in ACCOUNTS[kind][1].values():
        assert value.encode() not in left


def test_nothing_of_an_account_is_left_after_a_cancel(rig, tools):
    tools("gcloud")
    endpoint = {"kind": "cloud", "account": {"kind": "google", "name": "shop", "fields": {}}}
    job = rig.job("cloud-script", {"script": "echo begun; sleep 60"}, endpoint=endpoint)
    run = rig.start(job, {"Manyarm.Account.json_key": json.dumps(KEY)})
    run.until("begun")
    assert (run.folder / "work" / ".account").exists()
    (run.folder / "cancel").write_text("{}")
    run.wait()
    assert run.outcome["state"] == "cancelled"
    assert not (run.folder / "work" / ".account").exists()


@pytest.mark.parametrize("kind", sorted(ACCOUNTS))
def test_a_script_that_prints_its_environment_and_files_shows_no_secret(cloud, kind):
    run = cloud(
        kind,
        "env; cat .account/* 2>/dev/null || :; python3 -c \"import json,os; p=os.environ.get('GOOGLE_APPLICATION_CREDENTIALS'); "
        "print(json.load(open(p))['private_key'] if p else '')\"",
        properties={} if kind in TOOLS else {"tool": "bash"},
    )
    assert run.outcome["state"] == "succeeded", (run.outcome, run.text())
    for value in (*ACCOUNTS[kind][1].values(), KEY["private_key_id"], *KEY["private_key"].splitlines()[1:3]):
        assert value not in run.text()
    assert "***" in run.out


def test_what_a_key_file_holds_is_masked_alone_too_and_its_plain_words_are_not():
    masker = Masker([json.dumps(KEY)])
    said = masker.feed(f"{KEY['private_key_id']} of {KEY['project_id']} {KEY['type']}\n".encode()) + masker.flush()
    assert said == b"*** of shop-1234 service_account\n"


@pytest.mark.parametrize("kind", sorted(TOOLS))
def test_a_tool_that_is_not_installed_is_named_with_its_cure(rig, kind):
    fields, secrets = ACCOUNTS[kind]
    endpoint = {"kind": "cloud", "account": {"kind": kind, "name": "shop", "fields": fields}}
    rig.environment["PATH"] = "/nowhere"
    job = rig.job("cloud-script", {"script": "echo never"}, endpoint=endpoint)
    run = rig.run(job, {f"Manyarm.Account.{name}": value for name, value in secrets.items()})
    assert run.outcome["message"].startswith(
        f"the tool '{TOOLS[kind]}' is not installed where this step runs: install the"
    )


def test_another_tool_is_looked_for_instead(cloud):
    run = cloud("aws", "echo never", properties={"tool": "no-such-tool"})
    assert run.outcome["message"].startswith(
        "the tool 'no-such-tool' is not installed where this step runs: install it"
    )


def test_a_step_without_an_account_says_where_it_gets_one(rig):
    run = rig.run(rig.job("cloud-script", {"script": "echo never"}))
    assert run.outcome["message"].startswith("this step needs an account: let it run on a cloud target")


def test_an_account_that_lacks_something_says_what(cloud):
    run = cloud("aws", "echo never", secrets={})
    assert run.outcome["message"].startswith("the account 'shop' has no secret_access_key")


def test_a_google_key_that_is_no_json_is_refused_and_not_shown(cloud):
    run = cloud("google", "echo never", secrets={"json_key": "not the key file but something else"})
    assert "is no JSON object" in run.outcome["message"]
    assert "something else" not in run.text() + run.outcome["message"]


def test_a_scripts_variables_say_what_the_target_is(cloud):
    run = cloud(
        "generic",
        "get_variable Manyarm.Target.Region; echo; get_variable Manyarm.Target.Properties.bucket; echo; get_variable Manyarm.Account.Name",
        properties={"tool": "bash"},
    )
    assert run.out.split() == ["eu-central-1", "assets", "shop"]


def test_a_script_may_ask_at_once_for_what_was_set_just_before_it(cloud):
    """Again and again, since it is a question of which of two messages is looked at first."""
    for _ in range(15):
        run = cloud("generic", "get_variable Manyarm.Account.Name", properties={"tool": "bash"})
        assert run.out == "shop", run.text()
