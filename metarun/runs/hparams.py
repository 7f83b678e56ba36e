"""A run's row on TensorBoard's HParams page, in the events of the run (`SummaryWriter.add_hparams` adds a sub-run).

The page joins two records: the start of the session, with the hyperparameters, and its end. The metrics of the page are
all scalars of the run, sorted by name.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.metadata import (
    SESSION_END_INFO_TAG,
    SESSION_START_INFO_TAG,
    create_summary_metadata,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

from metarun.core.errors import Interrupted
from metarun.core.names import shown
from metarun.runs.files import TEST_DATASETS

COLUMNS = (
    "dataset", "model", "embedding", "hypernet", "algorithm", "seed", "dataset.ways", "dataset.shots",
    "algorithm.inner_lr", "algorithm.outer.lr",
)  # fmt: skip
"""Columns for a run that is not a job of a sweep; keys that it does not have are left out."""


def columns(config: Mapping[str, Any], swept: Sequence[str]) -> dict[str, str | float]:
    """Groups and full names of keys with their values in a composed configuration: those ``swept``, or `COLUMNS`.

    Numbers stay numbers; other values are strings, as a user would type them.
    """
    found: dict[str, str | float] = {}
    for name in swept or COLUMNS:
        value = config["choices"].get(name, _value(config, name))
        if value is not _ABSENT:
            found[name] = value if isinstance(value, int | float) and not isinstance(value, bool) else shown(value)
    return found


_ABSENT = object()


def _value(config: Mapping[str, Any], name: str) -> Any:
    node: Any = config
    for key in name.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return _ABSENT
        node = node[key]
    return node


def metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """The final metrics of a ``result.json``, shown in the row beside the settings."""
    stages = {"meta-test": result["meta_test"]["metrics"], "meta-val": result["meta_val"]["metrics"]}
    found = {
        f"{name} {stage}": figures["mean"] for stage, by_name in stages.items() for name, figures in by_name.items()
    }
    pooled = {f"{name} meta-test": value for name, value in result["meta_test"].get("pooled", {}).items()}
    trivial = result["baselines"]
    for data, block in result.get(TEST_DATASETS, {}).items():
        found |= {f"{name} meta-test {data}": metric["mean"] for name, metric in block["meta_test"]["metrics"].items()}
    return found | pooled | {f"{trivial['metric']} best baseline": trivial["methods"][trivial["best"]]["mean"]}


def session_start(row: Mapping[str, str | float]) -> Summary:
    """The record of a session that starts now."""
    start = SessionStartInfo(start_time_secs=time.time())
    for name, value in row.items():
        if isinstance(value, str):
            start.hparams[name].string_value = value
        else:
            start.hparams[name].number_value = value
    return _summary(SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))


def session_end(error: BaseException | None) -> Summary:
    """The record of a session that ends now, with ``error`` or successfully (``None``).

    A stopped session is neither a success nor a failure: its status is unknown, like that of a running session.
    """
    status = Status.STATUS_FAILURE
    if error is None:
        status = Status.STATUS_SUCCESS
    elif isinstance(error, Interrupted | KeyboardInterrupt):
        status = Status.STATUS_UNKNOWN
    return _summary(
        SESSION_END_INFO_TAG,
        HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=time.time())),
    )


def _summary(tag: str, content: HParamsPluginData) -> Summary:
    return Summary(value=[Summary.Value(tag=tag, metadata=create_summary_metadata(content))])
