"""What users rely on does not change without notice: `tests/surface.yaml` lists it, CHANGELOG.md describes the changes.

After an intended change run ``python -m pytest tests/test_surface.py --update-surface`` and edit CHANGELOG.md.
"""

import difflib
from pathlib import Path

import pytest
from surface import CHANGELOG, LIST, Experiment, collected, digest, newest_section, written


@pytest.mark.slow
def test_surface_matches_the_list(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    experiment: Experiment,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    listed = LIST.read_text(encoding="utf-8") if LIST.exists() else ""
    found = written(collected(experiment))
    changes = [
        line
        for line in difflib.unified_diff(listed.splitlines(), found.splitlines(), n=0, lineterm="")
        if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ]
    if request.config.getoption("update_surface"):
        LIST.write_text(found, encoding="utf-8")
    elif changes:
        pytest.fail("\n".join((f"{len(changes)} lines of {LIST.name} differ:", *changes, __doc__ or "")), pytrace=False)


def test_the_change_log_is_of_this_surface() -> None:
    """A new list has a new digest, so it cannot be committed without opening CHANGELOG.md."""
    wanted = f"Surface: `{digest(LIST.read_text(encoding='utf-8'))}`"
    section = newest_section()
    if wanted not in section:
        told = (
            f"describe under '{section.splitlines()[0]}' what changed in {LIST.name}, and set the line 'Surface: …' to"
        )
        pytest.fail(f"{CHANGELOG.name}: {told}\n{wanted}", pytrace=False)
