"""Imports point downward: a package imports from those below it alone, and no file imports itself through others.

docs/design.md says what each layer is for. Imports for type checkers count, and so do those inside functions.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [
    {"core"},
    {"config"},
    {"datasets"},
    {"hpo"},
    {"models"},
    {"embeddings", "hypernets", "regularizers"},
    {"algorithms"},
    {"learner"},
    {"engine"},
    {"runs"},
    {"setup"},
    {"inspection"},
    {"training"},
    {"summary"},
    {"sweep", "report"},
    {"automl"},
    {"modes"},
    {"given_tasks"},
    {"adapted_model"},
    {"meta_learner"},
    {"__init__"},
    {"command"},
    {"__main__"},
]
"""From the bottom up: folders, and files that lie beside them."""
RANK = {package: rank for rank, layer in enumerate(LAYERS) for package in layer}


def modules() -> dict[str, Path]:
    """The files of metarun by module."""
    found = {}
    for path in sorted((ROOT / "metarun").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """The modules of metarun that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                inside = f"{node.module}.{name.name}"
                yield inside if inside in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def package(module: str) -> str:
    """The folder that a module lies in, or its own name where it lies in none."""
    return module.split(".")[1] if "." in module else "__init__"


def test_every_package_has_a_place() -> None:
    assert {package(module) for module in MODULES} == set(RANK)


def test_imports_point_downward() -> None:
    upward = [
        f"{module} imports {other}"
        for module, path in MODULES.items()
        for other in imported(path)
        if other in MODULES and package(other) != package(module) and RANK[package(other)] >= RANK[package(module)]
    ]
    assert upward == []


def test_no_imports_are_circular() -> None:
    graph = {module: set(imported(path)) & MODULES.keys() - {module} for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from None


def test_hydras_private_names_are_in_one_file() -> None:
    using = [module for module, path in MODULES.items() if "hydra._internal" in path.read_text(encoding="utf-8")]
    assert using == ["metarun.config.hydra"]


def test_one_function_maps_over_tasks() -> None:
    """Apart from what maps over something else: examples of a task, and baselines, which know no φ."""
    mapping = {module for module, path in MODULES.items() if "vmap(" in path.read_text(encoding="utf-8")}
    assert mapping == {"metarun.engine.over_tasks", "metarun.engine.baselines", "metarun.embeddings.fisher"}
