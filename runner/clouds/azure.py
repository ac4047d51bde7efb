"""Microsoft Azure: a service principal, for its libraries (AZURE_…), for Terraform (ARM_…), and for az by a login."""

from __future__ import annotations

from runner.cloud import Access, Cloud, CloudAccount

_FILE = "client-secret"


def _access(account: CloudAccount) -> Access:
    tenant, client = account.needed("tenant_id"), account.needed("client_id")
    secret, subscription = account.needed("client_secret"), account.value("subscription_id")
    environment = {}
    for prefix in ("AZURE", "ARM"):
        environment[f"{prefix}_TENANT_ID"] = tenant
        environment[f"{prefix}_CLIENT_ID"] = client
        environment[f"{prefix}_CLIENT_SECRET"] = secret
        environment[f"{prefix}_SUBSCRIPTION_ID"] = subscription
    environment["AZURE_DEFAULTS_LOCATION"] = account.region
    environment["AZURE_CORE_COLLECT_TELEMETRY"] = "false"
    # az knows no login by environment. It reads a value from a file, so the secret stands in no list of processes.
    login = (
        *("az", "login", "--service-principal", "--username", client, "--tenant", tenant),
        *("--password", f"@{{folder}}/{_FILE}", "--allow-no-subscriptions", "--output", "none"),
    )
    chosen = (("az", "account", "set", "--subscription", subscription),) if subscription else ()
    return Access(
        environment=environment,
        files={_FILE: secret},
        # Its login ends with the run.
        paths={"AZURE_CONFIG_DIR": "azure/"},
        sign_in=(login, *chosen),
    )


CLOUD = Cloud(name="azure", tool="az", install="install the Azure CLI", access=_access)
