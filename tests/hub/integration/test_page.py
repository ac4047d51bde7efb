"""docs/integration.md says what the code does: its types, its exchanges, its headers, its settings."""

import re
from pathlib import Path

from config.limits import HubLimits
from hub.cli.client.integration import integration
from hub.integration.command_types import COMMAND_TYPES
from hub.integration.event_types import EVENT_TYPES
from wire import integration_topology as topology

PAGE = Path("docs/integration.md").read_text(encoding="utf-8")


def test_every_type_stands_on_the_page_with_its_data_and_no_other():
    rows = re.findall(r"^\| `([a-z-]+\.[a-z-]+)` \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
    written = {name: (summary, re.findall(r"`(\w+)`", data)) for name, summary, data in rows}
    assert written == {
        f"{each.entity}.{each.verb}": (each.summary, [name for name in each.data.model_fields if name != "actor"])
        for each in EVENT_TYPES
    }


def test_names_of_the_broker_are_written_as_they_are():
    for name in (topology.VHOST, topology.EVENTS, topology.COMMANDS, topology.DEAD, topology.HUB_DEAD):
        assert f"`{name}`" in PAGE
    for command in COMMAND_TYPES:
        assert f"`{command.type}`" in PAGE
        assert f"`{command.key}`" in PAGE


def test_commands_that_are_typed_exist_and_limits_are_as_said():
    typed = set(re.findall(r"manyarm integration (\w+)", PAGE))
    assert typed == set(integration.commands)
    assert HubLimits().event_keep_s == 30 * 86_400
    events = next(policy for policy in topology.POLICIES if policy.name == "consumer-events")
    assert (events.definition["max-length"], events.definition["message-ttl"]) == (100_000, 14 * 86_400_000)
