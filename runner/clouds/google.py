"""Google Cloud: the key file of a service account, for gcloud, its libraries and Terraform."""

from __future__ import annotations

from runner.cloud import Access, Cloud, CloudAccount

_KEY_FILE = "google-key.json"


def _access(account: CloudAccount) -> Access:
    key = account.needed_json("json_key")
    project = account.value("project") or str(key.get("project_id", ""))
    return Access(
        environment={
            "GOOGLE_CLOUD_PROJECT": project,
            "GOOGLE_PROJECT": project,
            "GOOGLE_REGION": account.region,
            "CLOUDSDK_CORE_PROJECT": project,
            "CLOUDSDK_COMPUTE_REGION": account.region,
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        },
        files={_KEY_FILE: account.needed("json_key")},
        paths={
            "GOOGLE_APPLICATION_CREDENTIALS": _KEY_FILE,
            "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE": _KEY_FILE,
            "CLOUDSDK_CONFIG": "gcloud/",
        },
    )


CLOUD = Cloud(name="google", tool="gcloud", install="install the Google Cloud CLI", access=_access)
