"""`make sim`: play many seeds; print what broke, with the command that plays it again.

python tests/simulation/run.py [--seeds 1000] [--first 0] [--jobs 2]
python tests/simulation/run.py --seed 17 --trace
"""

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "contract", HERE.parent / "property"):
    sys.path.insert(0, str(folder))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=max(1, len(os.sched_getaffinity(0)) - 1))
    parser.add_argument("--seed", type=int, help="play this one alone")
    parser.add_argument("--trace", action="store_true", help="print all that happened")
    chosen = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of what is played again
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"PYTHONHASHSEED": "0"})

    from sim_cluster import run

    seeds = [chosen.seed] if chosen.seed is not None else range(chosen.first, chosen.first + chosen.seeds)
    total: Counter[str] = Counter()
    broken, rest, idle, cpu = [], [], [], 0.0
    jobs = min(chosen.jobs, len(seeds))
    pool = ProcessPoolExecutor(jobs) if jobs > 1 else None
    for result in pool.map(run, seeds, chunksize=4) if pool else map(run, seeds):
        if chosen.trace:
            print("\n".join(result.trace))
        total += result.figures.seen
        cpu += result.seconds
        if result.broken:
            broken.append(result)
            print(f"seed {result.seed} {result.broken}")
            print(f"  again: {sys.executable} {sys.argv[0]} --seed {result.seed} --trace", flush=True)
        else:
            rest.append(result.figures.rest_after)
            idle.append(result.figures.idle_before_rest)
    happened = ", ".join(f"{name} {count}" for name, count in sorted(total.items()))
    print(f"{len(seeds)} seeds, {len(broken)} broken, {cpu:.0f} s of CPU. {happened}")
    if rest:
        rest.sort()
        print(f"at rest after the last fault: median {rest[len(rest) // 2]:.1f} s, longest {rest[-1]:.1f} s")
        print(f"of it without an engine that loads or ends: longest {max(idle):.1f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
