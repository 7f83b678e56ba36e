"""Keys of runs: which vary, how shortly they can be named, and which name a user meant."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

from metarun.config.groups import PARTS, TESTS
from metarun.core.errors import UserError
from metarun.core.names import listed, shown
from metarun.report.runs import Run
from metarun.report.text import NOTHING, clean

SEED = "seed"
MACHINE = frozenset(
    {
        "checkpoint",
        "resume",
        "config_dir",
        "dataset.download",
        "dataset.url",
        "engine.task_chunk",
        "engine.checkpoint_every",
        "engine.log_every",
        "engine.on_divergence",
        "engine.profile_steps",
    }
)
"""Keys that say where and how a run is computed and told, and not what; `_of_the_machine` knows more."""
_NEVER = frozenset({SEED, "resume", "config_dir"})
_OWN_DATASETS = "metarun.datasets."
LONG = 8
"""Letters from which on a fraction is rounded in tables."""
ABSENT = ""
"""The fingerprint of a key that a run does not have."""


def fingerprint(value: Any) -> str:
    """The same text for values that are the same setting: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, bool) or value is None:
        return shown(value)
    if isinstance(value, int | float):
        return repr(float(value)) if abs(value) < 2**53 else repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(fingerprint, value))}]"
    return repr(value)


def of(run: Run, key: str) -> str:
    """The fingerprint of a run's key."""
    return fingerprint(run.settings[key]) if key in run.settings else ABSENT


def told(run: Run, key: str) -> str:
    """A run's key as a person reads it; long fractions with four digits."""
    if key not in run.settings:
        return NOTHING
    value = run.settings[key]
    text = shown(value)
    return f"{value:.4g}" if isinstance(value, float) and len(text) > LONG else clean(text)


def of_the_problem(run: Run) -> dict[str, Any]:
    """What decides the tasks that a run is tested on, apart from its seed: its dataset, without keys of training alone.

    And whether queries may be seen all at once, which makes figures incomparable.
    """
    names = [name for name in run.settings if name == "dataset" or name.startswith("dataset.")]
    kept = {name: run.settings[name] for name in names if not _of_training(run, name)}
    return {**kept, "engine.transductive": run.settings.get("engine.transductive")}


def _of_training(run: Run, name: str) -> bool:
    builtin = str(run.settings.get("dataset._target_", "")).startswith(_OWN_DATASETS)
    return name.startswith("dataset.train_") or name in MACHINE or (builtin and name == "dataset.tasks")


def varying(runs: Sequence[Run]) -> list[str]:
    """The keys that distinguish the configurations of these runs, groups first, then in the order of their files.

    A key counts where it differs between runs of the same option of its group: what only follows from the option is
    told by it. A key of the machine, and one whose values followed from other parts, count only where one seed was run
    with several values, all else being equal.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.settings))
    ordered = [name for name in PARTS if name in names] + [name for name in names if name not in PARTS]
    counting = [name for name in ordered if not _never(name) and _differs(runs, name)]
    implied = [name for name in counting if _of_the_machine(name) or not _differs(runs, name, by_choice=True)]
    found = [name for name in counting if name not in implied]
    return [*found, *(name for name in implied if _tells_apart(runs, name, found))]


def _never(name: str) -> bool:
    """Whether a key cannot make a run another: what is tracked, and tested on besides, changes none of its figures."""
    return name in _NEVER or name.partition(".")[0] in ("tracking", "hpo", TESTS)


def _of_the_machine(name: str) -> bool:
    """Of a device's keys only the precision changes more than rounding."""
    return name in MACHINE or (name.partition(".")[0] == "device" and name != "device.precision")


def _differs(runs: Sequence[Run], name: str, *, by_choice: bool = False) -> bool:
    """Whether a key differs between runs of one option of its group; ``by_choice``: where not all of these followed."""
    group = name.partition(".")[0]
    seen: dict[str, list[Run]] = {}
    for run in runs:
        seen.setdefault(of(run, group) if group != name else ABSENT, []).append(run)
    return any(
        len({of(run, name) for run in alike}) > 1 and not (by_choice and all(name in run.followed for run in alike))
        for alike in seen.values()
    )


def _tells_apart(runs: Sequence[Run], name: str, found: Sequence[str]) -> bool:
    seen: dict[tuple[str, ...], str] = {}
    for run in runs:
        rest = tuple(of(run, key) for key in (SEED, *found))
        if seen.setdefault(rest, of(run, name)) != of(run, name):
            return True
    return False


def meant(typed: str, names: Iterable[str], flag: str) -> str:
    """The full name that a user means by a name or by its ending.

    Raises `UserError` where there is none, with what is near, or where there are several.
    """
    known = list(dict.fromkeys(names))
    if typed in known:
        return typed
    found = [name for name in known if name.endswith(f".{typed}")]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{flag}: '{typed}' may be {' or '.join(found)}; give more of the name")
    endings = {name.rpartition(".")[2]: name for name in known}
    near = get_close_matches(typed, [*known, *endings], n=3)
    hint = f"; did you mean {' or '.join(dict.fromkeys(endings.get(name, name) for name in near))}?" if near else ""
    raise UserError(f"{flag}: no run has a key '{typed}'{hint or f' (keys: {listed(sorted(known))})'}")


def filtered(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """The runs that meet all ``KEY=VALUE`` conditions; several values, parted by commas, mean any of them.

    Raises `UserError` for a condition of another form, a key that no run has, and a value that none has.
    """
    left = list(runs)
    for condition in conditions:
        typed, sign, value = condition.partition("=")
        flag = f"--where {condition}"
        if not sign or not typed:
            raise UserError(f"{flag}: KEY=VALUE is expected, as in algorithm=maml,anil")
        key = meant(typed, ["status", *(name for run in runs for name in run.settings)], flag)
        wanted = {value, *value.split(",")}
        there = [run for run in left if key == "status" or key in run.settings]
        kept = [run for run in there if _is(_value(run, key), wanted)]
        if not kept:
            values = sorted({clean(shown(_value(run, key))) for run in there})
            rest = " that meets the others too" if len(left) < len(runs) else ""
            raise UserError(f"{flag}: there is no such run{rest} ({key}: {listed(values)})")
        left = kept
    return left


def _value(run: Run, key: str) -> Any:
    return run.status if key == "status" else run.settings[key]


def _is(value: Any, wanted: set[str]) -> bool:
    """Whether a value is one of those typed; numbers are compared as numbers."""
    if shown(value) in wanted or clean(shown(value)) in wanted:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return any(_as_number(text) == value for text in wanted)


def is_value(value: Any, typed: str) -> bool:
    """Whether a value is the one typed; numbers are compared as numbers."""
    return _is(value, {typed})


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
