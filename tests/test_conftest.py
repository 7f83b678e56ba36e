"""``--strict-skips``: continuous integration must not lose tests to a missing package."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent
SKIPPING = """
import pytest

@pytest.mark.skipif(True, reason="no CUDA device")
def test_accepted(): ...

def test_refused():
    pytest.importorskip("a_package_that_is_not_there")

@pytest.mark.xfail(reason="known")
def test_expected_failure():
    assert False
"""


def outcome(folder: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, str(folder)],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_strict_skips_accepts_missing_hardware_only(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "test_skipping.py").write_text(SKIPPING)
    (tmp_path / "test_module.py").write_text('import pytest\npytest.importorskip("a_package_that_is_not_there")\n')
    code, out = outcome(tmp_path, "--strict-skips", "--continue-on-collection-errors")
    assert (code, out.splitlines()[-1].partition(" in ")[0]) == (1, "1 failed, 1 skipped, 1 xfailed, 1 error")
    assert out.count("not an accepted reason to skip a test") >= 2
