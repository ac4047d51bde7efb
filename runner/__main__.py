"""`python3 -I -S -B <this folder or archive> supervise JOB-FOLDER`, and the runner's other commands."""

import gc
import sys

from runner import records

# A start makes much and throws nothing away: to look for garbage meanwhile is a tenth of it. A job has it on again.
gc.disable()
# Before anything that asks for the real one, which takes a third of a start.
sys.modules["dataclasses"] = records

from runner.command_line import main  # noqa: E402  the same

sys.exit(main(sys.argv[1:]))
