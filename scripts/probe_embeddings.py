"""How much a task embedding tells of a task: a linear classifier from e_t to a fact about it.

    scripts/probe_embeddings.py RUN [--fact family]

Reads RUN/embeddings.csv, which a run with a task embedding leaves. Needs scikit-learn: pip install -e .[analysis]
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run")
    parser.add_argument("--fact", default="family", help="the column of embeddings.csv to be read off")
    given = parser.parse_args()
    with (given.run / "embeddings.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if given.fact not in rows[0]:
        parser.error(f"--fact {given.fact}: the columns are {', '.join(rows[0])}")
    size = sum(name[0] == "e" and name[1:].isdigit() for name in rows[0])
    embeddings = np.array([[float(row[f"e{place}"]) for place in range(size)] for row in rows])
    facts = np.array([row[given.fact] for row in rows])
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    scores = cross_val_score(probe, embeddings, facts, cv=5)
    commonest = max(np.unique(facts, return_counts=True)[1]) / len(facts)
    print(
        f"{given.fact} read off e_t ({size} numbers) of {len(facts):,} tasks: accuracy {scores.mean():.4f} "
        f"(5 folds, {scores.min():.4f} to {scores.max():.4f}; the commonest alone: {commonest:.4f})"
    )


if __name__ == "__main__":
    main()
