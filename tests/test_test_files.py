"""Where tests are: in the folders of what they test, and no file of tests imports another."""

import ast
from pathlib import Path

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "metarun"
FILES = sorted(TESTS.rglob("test_*.py"))


def test_no_test_file_imports_another() -> None:
    """What two files share is in ``tests/helpers``, a fixture in a ``conftest.py``."""
    names = {file.stem for file in FILES}
    importing = [
        f"{file.relative_to(TESTS)} imports {module}"
        for file in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for module in imported(node)
        if names.intersection(module.split("."))
    ]
    assert importing == []


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{name.name}" for name in node.names]
    return [name.name for name in node.names] if isinstance(node, ast.Import) else []


def test_folders_are_those_of_the_package_and_scripts() -> None:
    folders = {file.parent.relative_to(TESTS) for file in FILES} - {Path("scripts")}
    assert [str(folder) for folder in sorted(folders) if not (PACKAGE / folder).is_dir()] == []


def test_tests_of_scripts_are_in_their_folder() -> None:
    scripts = {path.stem for path in (TESTS.parent / "scripts").glob("*.py")}
    found = {file.relative_to(TESTS) for file in FILES if file.stem.removeprefix("test_") in scripts}
    assert {file.parent for file in found} == {Path("scripts")}


def test_the_test_of_a_module_is_in_the_folder_of_the_module() -> None:
    """A name that no module has is for what several modules do together, as in ``algorithms/test_contract.py``."""
    modules = {path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py")}
    elsewhere = []
    for file in FILES:
        place = file.relative_to(TESTS).parent / file.stem.removeprefix("test_")
        same_name = [module for module in modules if module.name == place.name]
        if same_name and place not in modules and not (PACKAGE / place).is_dir():
            elsewhere.append(f"{file.relative_to(TESTS)}: expected beside {' or '.join(map(str, same_name))}")
    assert elsewhere == []
