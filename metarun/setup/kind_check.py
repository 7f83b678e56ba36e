"""Defaults that follow from the kind of task hold only if the dataset is of that kind."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metarun.core.errors import UserError
from metarun.core.names import FOLLOWED, TASK_KINDS

if TYPE_CHECKING:
    from metarun.datasets.base import Dataset


def refuse_other_kind(plain: Mapping[str, Any], dataset: "Dataset") -> None:
    """Refuse values that follow from a kind of task which the dataset's tasks are not. Raises `UserError`.

    The kind in a YAML file is read before there are data, so that a dataset of one's own may say nothing, or be wrong.
    """
    classification, regression = TASK_KINDS
    kind = classification if dataset.kind("test").by_class else regression
    for key, origin in plain.get(FOLLOWED, {}).items():
        if origin.startswith(tuple(other for other in TASK_KINDS if other != kind)):
            raise UserError(
                f"dataset={plain['choices']['dataset']}: its tasks are {kind}, but defaults such as {key} are for "
                f"{origin.partition(',')[0]}; add the line '_kind_: {kind}' to its YAML file, or give {key}"
            )
