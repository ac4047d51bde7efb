"""The hub's databases and whole installed hubs, for the abuse tests too."""

from tests.hub.conftest import database, database_url, installed_hub, installed_hub_on_each

__all__ = ["database", "database_url", "installed_hub", "installed_hub_on_each"]
