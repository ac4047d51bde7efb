"""The servers that any test may ask for, each private to this session; its order, and the matrix printed at its end."""

import gc
import os
import signal

import pytest

pytest_plugins = [
    "tests.services.order",
    "tests.services.rabbitmq",
    "tests.services.postgres",
    "tests.services.mariadb",
    "tests.services.whole",
    "tests.services.sshd",
    "tests.conformance.matrix",
]

# A shell that starts the suite in the background has it ignore Ctrl-C, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

_UMASK = os.umask(0o022)
os.umask(_UMASK)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Eight thousand items stay for good: no collection of garbage needs to look through them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _files_as_the_shell_makes_them() -> None:
    """Our commands make their files private from then on, and some tests run one in this process."""
    os.umask(_UMASK)
