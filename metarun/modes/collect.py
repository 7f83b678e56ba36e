"""``mode=collect``: train scikit-learn's models on many data sets, as a table of scores to learn from."""

from metarun.automl.collecting import collect
from metarun.core.errors import Interrupted
from metarun.modes.running import Call


def run(call: Call) -> None:
    """Collect, and print what the table has."""
    settings = call.settings.collect
    try:
        table = collect(settings, call.settings.seed)
    except KeyboardInterrupt as error:
        raise Interrupted("stopped; the same command continues") from error
    groups, failed = len(set(table.groups.tolist())), int(table.failed.sum())
    print(
        f"{settings.path}: {len(table.tasks)} data sets ({groups} groups) × {len(table.identifiers)} configurations, "
        f"{failed} of {table.failed.size:,} evaluations failed"
    )
