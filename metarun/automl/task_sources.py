"""The data sets that ``mode=collect`` trains on: scikit-learn's and variants of them, synthetic ones, a user's."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metarun.automl import synthetic
from metarun.automl.tabular import LEAST_ROWS, Tabular, of_arrays, read
from metarun.core.counters import key
from metarun.core.errors import UserError
from metarun.core.names import listed, nearest

BUNDLED = {
    "classification": ("iris", "wine", "breast_cancer", "digits"),
    "regression": ("diabetes",),
}
"""The data sets in the package scikit-learn, by kind of target."""
_LEAST_OF_CLASS = 10
VARIANTS = ("columns", "classes", "rest", "noise")


@dataclass(frozen=True)
class TaskSource:
    """One task. group: shared by all tasks that are made of one data set. build: returns its data, always the same."""

    name: str
    group: str
    build: Callable[[], Tabular]


def bundled(kind: str, variants: int, seed: int, without: Sequence[str]) -> Iterator[TaskSource]:
    """scikit-learn's data sets, each followed by seeded variants of it. without: names of those to leave out.

    A variant has a random half of the columns; or a random part of the classes; or one class against all others; or
    noise in all columns. Raises `UserError` for a name that is none of theirs.
    """
    names = BUNDLED[kind]
    for name in without:
        if name not in names:
            raise UserError(f"collect.exclude: no data set '{name}'{nearest(name, names)} (data sets: {listed(names)})")
    for name in names:
        if name in without:
            continue
        yield TaskSource(name, name, _Bundled(name, kind))
        several = name not in ("breast_cancer", "diabetes")  # more than two classes
        possible = VARIANTS if several else ("columns", "noise")
        for number in range(variants):
            how = possible[number % len(possible)]
            own = key(seed, "automl", "variant", name, number) % 2**32
            yield TaskSource(f"{name}.{how}-{number}", name, _Variant(name, kind, how, own))


@dataclass(frozen=True)
class _Bundled:
    name: str
    kind: str

    def __call__(self) -> Tabular:
        from sklearn import datasets

        found = getattr(datasets, f"load_{self.name}")()
        return of_arrays(found.data.astype(np.float64), found.target, self.kind, tuple(map(str, found.feature_names)))


@dataclass(frozen=True)
class _Variant:
    name: str
    kind: str
    how: str
    seed: int

    def __call__(self) -> Tabular:
        data, random = _Bundled(self.name, self.kind)(), np.random.default_rng(self.seed)
        x, y = data.x, data.y
        if self.how == "columns":
            x = x[:, np.sort(random.permutation(x.shape[1])[: max(2, x.shape[1] // 2)])]
        elif self.how == "noise":
            x = x + random.uniform(0.5, 1.5) * x.std(0) * random.normal(size=x.shape)
        elif self.how == "rest":
            y = (y == random.integers(y.max() + 1)).astype(np.int64)
        else:
            classes = int(y.max()) + 1
            kept = random.permutation(classes)[: random.integers(2, classes)]
            rows = np.isin(y, kept)
            x, y = x[rows], y[rows]
        return of_arrays(x, y, self.kind)


def synthetic_tasks(kind: str, count: int, seed: int) -> Iterator[TaskSource]:
    """Tasks of `metarun.automl.synthetic`, the families in turn; each is a group of its own."""
    families = list(synthetic.FAMILIES[kind])
    for number in range(count):
        family = families[number % len(families)]
        own = key(seed, "automl", "synthetic", family, number) % 2**32
        name = f"{family}-{number}"
        yield TaskSource(name, name, _Synthetic(family, kind, own))


@dataclass(frozen=True)
class _Synthetic:
    family: str
    kind: str
    seed: int

    def __call__(self) -> Tabular:
        random = np.random.default_rng(self.seed)
        while True:
            data = of_arrays(*synthetic.FAMILIES[self.kind][self.family](random), self.kind)
            # Drawn again in the rare case of a class that is too small for cross-validation.
            if data.classes is None or (len(data.classes) > 1 and np.bincount(data.y).min() >= _LEAST_OF_CLASS):
                return data


def tables(kind: str, given: Sequence[str]) -> Iterator[TaskSource]:
    """A user's own tables, each ``FILE:TARGET`` or ``FILE:TARGET:GROUP``. Raises `UserError` for anything else.

    The group is the name of the file, without its ending, unless it is given.
    """
    seen: dict[str, str] = {}
    for text in given:
        path, colon, rest = text.partition(":")
        target, _, group = rest.partition(":")
        if not colon or not path or not target:
            raise UserError(f"collect.tables: {text!r}: FILE:TARGET is expected, such as data.csv:price")
        name = Path(path).name.split(".")[0]
        if name in seen:
            raise UserError(f"collect.tables: {text!r} and {seen[name]!r} have the same name; rename one of the files")
        seen[name] = text
        yield TaskSource(name, group or name, _Table(path, target, kind))


@dataclass(frozen=True)
class _Table:
    path: str
    target: str
    kind: str

    def __call__(self) -> Tabular:
        return read(self.path, self.target, self.kind, (), "collect.tables", LEAST_ROWS)


def refuse_repeated(sources: Sequence[TaskSource]) -> None:
    """Raise `UserError` for two tasks of one name."""
    seen: set[str] = set()
    for source in sources:
        if source.name in seen:
            raise UserError(f"collect.tables: there is a task {source.name!r} already; rename the file")
        seen.add(source.name)
