"""`make bench`: prints a table for each bench and writes build/bench.json; each figure beside a floor of the same run.

python -m bench [roundtrip|jobs|logs|packages|kinds] … [--quick]
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import machine
from bench.figures import Table, shown
from bench.jobs import jobs
from bench.kinds import kinds
from bench.logs import logs
from bench.packages import packages
from bench.roundtrip import round_trip
from bench.stage import BenchFailed

_REPORT = Path("build/bench.json")
_BENCHES: dict[str, Callable[..., list[Table]]] = {
    "roundtrip": round_trip,
    "jobs": jobs,
    "logs": logs,
    "packages": packages,
    "kinds": kinds,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures Manyarm beside its floors.")
    parser.add_argument("names", nargs="*", metavar="|".join(_BENCHES), help="which; all without")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: the shape, not the figures")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.names) - set(_BENCHES)
    if unknown:
        parser.error(f"no bench is called {', '.join(sorted(unknown))}")
    found: list[Table] = []
    for name in chosen.names or _BENCHES:
        try:
            tables = _BENCHES[name](quick=chosen.quick)
        except BenchFailed as error:
            print(f"bench {name} stopped: {error}", file=sys.stderr)
            return 1
        found += tables
        for table in tables:
            print(shown(table), flush=True)
        _write(found, quick=chosen.quick)
    print(f"Written to {_REPORT}")
    return 0


def _write(tables: Sequence[Table], *, quick: bool) -> None:
    """What other benches of an earlier run have left there stays."""
    _REPORT.parent.mkdir(exist_ok=True)
    known = json.loads(_REPORT.read_text()) if _REPORT.exists() else {}
    report = {
        "machine": machine.described(),
        "tables": {**known.get("tables", {}), **{table.name: {**table.as_json(), "quick": quick} for table in tables}},
    }
    _REPORT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
