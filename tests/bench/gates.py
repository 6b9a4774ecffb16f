"""``python -m tests.bench.gates``, or ``make bench-gates``: bad models and healthy ones at the gates, as Markdown."""

import argparse

import numpy as np
import numpy.typing as npt

from components.judging import jackknife
from components.judging.checks import Beside, check
from components.judging.evaluation import Evaluation
from components.judging.gates import Gate
from tests.bench.planted import PLANTED, healthy
from tests.bench.worlds import verdict

SAYS = {
    "merely better": Gate(metric="rmse", against="champion"),
    "`confidence: 0.95`": Gate(metric="rmse", against="champion", confidence=0.95),
    "`tolerance: 1%`": Gate(metric="rmse", against="champion", tolerance="1%"),
    "`tolerance: 1%, confidence: 0.95`": Gate(metric="rmse", against="champion", tolerance="1%", confidence=0.95),
}
WORSE = (-0.03, 0.0, 0.03)
ALIKE = 0.95  # correlation of the errors of two models of one table


def passed(gate: Gate, worse: float, rows: int, runs: int, seed: int = 0) -> float:
    """How often a candidate whose errors are *worse* by that share passes *gate* on *rows* rows; 0..1."""
    random, count, parts = np.random.default_rng(seed), 0, np.arange(rows) % jackknife.MOST
    for _ in range(runs):
        truth, theirs = np.zeros(rows), random.normal(size=rows)
        own = ALIKE * theirs + np.sqrt(1 - ALIKE**2) * random.normal(size=rows)
        ours = (1 + worse) * own
        gains = jackknife.gains("regression", truth, ours, theirs, parts, ["rmse"])
        mine, other = (_evaluation(one) for one in (ours, theirs))
        count += check(gate, mine, Beside(mine, other, gains, "")).passed
    return count / runs


def _evaluation(errors: npt.NDArray[np.float64]) -> Evaluation:
    rmse = float(np.sqrt(np.mean(errors**2)))
    return Evaluation(task="regression", target="y", rows=len(errors), metrics={"rmse": rmse})


def planted() -> list[str]:
    """One line for each planted model: by what it was refused."""
    lines = ["| planted | refused by the gate meant for it | what the run says |", "|---|---|---|"]
    for one in PLANTED:
        seen = one.found()
        told = [check.sentence for check in (*seen.checks, *seen.guards) if not check.passed]
        first = next((words for words in told if one.meant in words), "; ".join(told) or "accepted")
        lines.append(f"| {one.name} | {'yes' if one.caught() else 'NO'} | {first} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--healthy", type=int, default=200)
    parser.add_argument("--runs", type=int, default=400)
    asked = parser.parse_args()
    print("\n".join(planted()))
    refused = [number for number in range(asked.healthy) if not verdict(*healthy(number)).accepted]
    caught = sum(one.caught() for one in PLANTED)
    print(f"\n{caught} of {len(PLANTED)} bad models refused; {len(refused)} of {asked.healthy} healthy ones refused.\n")
    print(f"How often a candidate passes whose RMSE really is better or worse ({asked.runs} draws each):\n")
    print("| gate against the champion | held-out rows | 3 % better | as good | 3 % worse |\n|---|---:|---:|---:|---:|")
    for name, gate in SAYS.items():
        for rows in (500, 5_000):
            shares = (passed(gate, worse, rows, asked.runs) for worse in WORSE)
            print(f"| {name} | {rows:,} | {' | '.join(f'{100 * share:.0f} %' for share in shares)} |")


if __name__ == "__main__":
    main()
