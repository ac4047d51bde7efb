"""Which test files come first, and which share a worker: those that take longest, and those that share a whole hub.

A session's fixture is one for each worker: what is named together here starts one hub instead of several. What takes
longest begins first, so that no worker is left alone with it at the end. Without workers (`-n 0`) it is the order alone.
"""

import pytest

TOGETHER = {
    "every kind of spoke": ("tests/conformance/",),
    "house": (
        "tests/flow/test_hub_run.py",
        "tests/flow/test_health.py",
        "tests/flow/test_ssh.py",
        "tests/abuse/test_hub_run.py",
        "tests/flow/test_drain.py",
    ),
    "whole": (
        "tests/flow/test_kills.py",
        "tests/flow/test_rotation.py",
        "tests/flow/test_install.py",
        "tests/flow/test_release_to_success.py",
        "tests/flow/test_integration.py",
        "tests/crash/test_hub.py",
    ),
    "bench": ("tests/bench/",),
}
LONGEST_FIRST = (
    *TOGETHER["every kind of spoke"],
    "tests/chaos/test_soak.py",
    *TOGETHER["house"],
    *TOGETHER["whole"],
    "tests/flow/test_between.py",
    "tests/flow/test_listening.py",
    *TOGETHER["bench"],
    "tests/flow/",
    "tests/browser/",
    "tests/runner/test_docker_container.py",
    "tests/runner/test_systemd_service.py",
    "tests/spokes/",
    "tests/hub/broker/",
    "tests/hub/orchestrator/",
    "tests/abuse/test_broker.py",
    "tests/abuse/test_ssh.py",
    "tests/abuse/test_relay.py",
    "tests/hub/cli/",
    "tests/wire/test_amqp",
    "tests/runner/",
    "tests/house/",
    "tests/abuse/",
)


def worker_of(nodeid: str) -> str:
    """What goes to one worker as a whole: a file, or files that share."""
    file = nodeid.partition("::")[0]
    return next((name for name, files in TOGETHER.items() if file.startswith(files)), file)


def place_of(nodeid: str) -> int:
    return next((at for at, name in enumerate(LONGEST_FIRST) if nodeid.startswith(name)), len(LONGEST_FIRST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: place_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """For `--dist loadfile`."""
    if config.getoption("dist") != "loadfile":
        return None
    # The plugin may be absent where no workers are asked for.
    from xdist.scheduler import LoadScopeScheduling

    class Shared(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return worker_of(nodeid)

    return Shared(config, log)
