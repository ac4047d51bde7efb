"""`make soak MINUTES=60 SEED=7`: faults at random on a fleet of real and light spokes, and a summary of what came of it."""

import argparse
import sys
import time
from pathlib import Path

from tests.chaos.fleet import fleet
from tests.chaos.oracle import findings
from tests.chaos.soak import Plan, Soak
from tests.chaos.summary import summary_of, words, write
from tests.conformance.world import KINDS

SUMMARY = Path("var/soak/summary.json")


def main() -> int:
    wanted = _wanted()
    print(f"soak of {wanted.minutes:g} minutes, seed {wanted.seed}", flush=True)
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f}  {text}", flush=True)

    with fleet(real=wanted.kinds.split(",") if wanted.kinds else (), light=wanted.light) as made:
        say(f"{len(made.names)} targets are at work")
        soak = Soak(made, Plan(wanted.seed, wanted.minutes * 60, ask_every_s=wanted.every), say)
        case = soak.run()
        summary = summary_of(soak, case, time.monotonic() - began)
        if findings(case):
            _keep(made.folder)
    write(summary, SUMMARY)
    print(words(summary))
    print(f"written to {SUMMARY}")
    return 0 if summary["ok"] else 1


def _keep(folder: Path) -> None:
    """What the processes wrote, for whoever looks for the reason."""
    place = SUMMARY.parent / "logs"
    place.mkdir(parents=True, exist_ok=True)
    for file in [*folder.glob("*.log"), *(folder / "hub" / "run").glob("*.log"), *folder.glob("hub/manyarm.db*")]:
        (place / file.name).write_bytes(file.read_bytes())


def _wanted() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--light", type=int, default=46, help="how many light targets")
    parser.add_argument("--kinds", default=",".join(KINDS), help="real targets, one of each")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two requests for work")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
