"""How well anybody could tell the family of a regression task from its support set: the best guess's accuracy.

    scripts/bound_families.py [--shots 10] [--noise 0.3] [--tasks 400] [--functions 20000]

For each task, the likelihood of its noisy support points is averaged over many functions drawn from each family; the
family with the largest average is the best guess there is (Bayes), as far as that many functions tell.
"""

import argparse
from dataclasses import replace

import torch

from metarun.config.compose import compose, plain
from metarun.setup.check import check


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shots", type=int, default=10)
    parser.add_argument("--noise", type=float, default=0.3, help="standard deviation, above 0")
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--functions", type=int, default=20_000, help="drawn of each family")
    given = parser.parse_args()
    if not given.noise > 0:
        parser.error(f"--noise {given.noise}: without noise no family but the true one has any likelihood; give more")
    config = compose(["dataset=regression_families", "model=mlp"])
    settings = check(plain(config, config.hydra.runtime.choices))
    chosen = replace(settings.dataset, shots=given.shots, noise=given.noise)
    dataset = chosen.load(0, torch.device("cpu"), torch.float64)
    tasks = dataset.sample("test", 0, given.tasks)
    families = list(dataset.groups)
    truth = torch.tensor([families.index(name) for name in dataset.facts("test", tasks)["family"]])
    x, y = tasks.support.x.squeeze(-1), tasks.support.y.squeeze(-1)
    numbers = torch.arange(given.functions)
    evidence = torch.empty(given.tasks, len(families))
    for family in range(len(families)):
        for task, (points, wanted) in enumerate(zip(x, y, strict=True)):
            values = dataset.values("train", numbers, points.expand(given.functions, -1), family)
            evidence[task, family] = torch.logsumexp((values - wanted).square().sum(1) / (-2 * given.noise**2), 0)
    guess = evidence.argmax(1)
    right = (guess == truth).double()
    each = ", ".join(f"{name} {right[truth == place].mean():.3f}" for place, name in enumerate(families))
    print(
        f"{given.shots} points, noise {given.noise:g}: best guess right for {right.mean():.4f} "
        f"± {1.96 * right.std() / len(right) ** 0.5:.4f} of {given.tasks} tasks ({each})"
    )


if __name__ == "__main__":
    main()
