"""Names of methods, and settings."""

from dataclasses import replace
from typing import Any

import pytest
from builders import settings

from metarun.core.errors import UserError
from metarun.hpo.registry import refuse_unknown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["random", "rpge"]}, r"hpo\.methods: no method 'rpge'; did you mean 'rgpe'\?"),
        ({"methods": ["random", "random"]}, r"hpo\.methods: 'random' is listed twice"),
        ({"methods": ["random"]}, r"at least two methods are needed"),
        ({"methods": ["random", "ensemble"]}, r"ensemble needs hpo\.ensemble=\[RUN_FOLDER\]"),
    ],
)
def test_unsuitable_methods_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        refuse_unknown(replace(settings().hpo, **changes))


def test_the_default_is_fine() -> None:
    refuse_unknown(settings().hpo)


@pytest.mark.parametrize("report", ["[]", "[0,5]", "[5,51]"])
def test_reported_trials_are_trials(report: str) -> None:
    with pytest.raises(UserError, match=r"hpo\.report=.*: numbers of trials from 1 to hpo\.trials=50 are expected"):
        settings(f"hpo.report={report}")
