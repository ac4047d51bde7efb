"""`python3 -I -S -B <this folder or archive> supervise JOB-FOLDER`, and the runner's other commands."""

import sys

from runner.command_line import main

sys.exit(main(sys.argv[1:]))
