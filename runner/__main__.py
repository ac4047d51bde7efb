"""`python3 -I -S -B <this folder or archive> supervise JOB-FOLDER`, and the runner's other commands."""

import sys

from runner import records

# Before anything that asks for the real one, which takes a third of a start.
sys.modules["dataclasses"] = records

from runner.command_line import main  # noqa: E402  the same

sys.exit(main(sys.argv[1:]))
