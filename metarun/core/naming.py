"""Names of the training data of a result."""

from collections.abc import Mapping
from typing import Any


def trained_on(result: Mapping[str, Any]) -> str | None:
    """The training data set of a ``result.json``; ``None`` if the model was tested on that data or never trained."""
    train = result["train"]
    if train["same_source"] or not train["tested_step"]:
        return None
    name = str(train["dataset"])
    return f"{name} with other settings" if name == result["meta_test"]["dataset"] else name
