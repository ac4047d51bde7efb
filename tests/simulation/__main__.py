"""`python -m tests.simulation [SEEDS [FIRST]]`: tell so many histories, say each that went wrong with the fewest faults."""

import sys
import time

from tests.simulation.history import minimal, tell


def main(count: int, first: int) -> int:
    """0 where every promise held in every history, else 1."""
    began = time.process_time()
    wrong = 0
    for seed in range(first, first + count):
        if tell(seed).wrong:
            wrong += 1
            without = minimal(seed)
            told = tell(seed, without, story=True)
            print(f"seed {seed}, without = {list(without)}: {'; '.join(told.wrong)}")
            print("\n".join(f"    {line}" for line in [*map(str, told.faults), *told.story]))
    spent = time.process_time() - began
    print(f"{count} histories from seed {first}: {wrong} went wrong; {count / spent * 60:,.0f} a minute of one core")
    return 1 if wrong else 0


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:3]] + [20_000, 0][len(sys.argv[1:3]) :]
    sys.exit(main(*numbers))
