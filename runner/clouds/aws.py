"""Amazon Web Services: an access key, as the aws tool, its libraries and Terraform read it from the environment."""

from __future__ import annotations

from runner.cloud import Access, Cloud, CloudAccount


def _access(account: CloudAccount) -> Access:
    return Access(
        environment={
            "AWS_ACCESS_KEY_ID": account.needed("access_key_id"),
            "AWS_SECRET_ACCESS_KEY": account.needed("secret_access_key"),
            "AWS_SESSION_TOKEN": account.value("session_token"),
            "AWS_REGION": account.region,
            "AWS_DEFAULT_REGION": account.region,
            # The rights of the hub's own machine are not the script's.
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
        },
        # What an administrator has configured for himself does not count here either.
        files={"config": "", "credentials": ""},
        paths={"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials"},
    )


CLOUD = Cloud(name="aws", tool="aws", install="install the AWS CLI", access=_access)
