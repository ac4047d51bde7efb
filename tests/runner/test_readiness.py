"""A process that is ready for a job has behind it whatever would take time in the job's first milliseconds."""

import subprocess
import sys


def test_what_was_imported_before_a_job_is_not_looked_through_for_garbage_in_it(built):
    asked = """
import gc, sys
sys.path.insert(0, sys.argv[1])
gc.disable()
from runner.readiness import get_ready
made = [[] for _ in range(1000)]
ready = get_ready()
print(gc.get_freeze_count() > 1000, gc.get_count()[0] < 1000)
ready.worker.close()
"""
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", asked, str(built.path)], capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["True", "True"], told.stderr
