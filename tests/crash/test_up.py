"""`manyarm up` ends itself as it starts: what it had started leaves with it, and the next `manyarm up` is ready."""

import signal
import subprocess
from pathlib import Path

import pytest

from tests.crash.points import Row, trials
from tests.services.requires import requires
from tests.services.whole import BIN, Whole
from wire.crash import VARIABLE

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("row", trials("up"))
def test_a_start_that_is_cut_off_there_is_made_again(tmp_path: Path, row: Row) -> None:
    requires("rabbitmq")
    hub = Whole(tmp_path)
    try:
        hub.install()
        environ = hub.environ | {VARIABLE: row.point}
        first = subprocess.run([BIN / "manyarm", "up"], env=environ, capture_output=True, timeout=120, check=False)
        assert first.returncode == -signal.SIGKILL, first.stderr
        hub.start()
        hub.enrol("web-1", "web")
        hub.start_spoke("web-1")
        hub.manyarm("run", "--to", "web-1", "--", "true")
    finally:
        hub.stop()
