"""Defaults that depend on other parts: values for keys that are ``auto``.

Any option's YAML file may say what suits it elsewhere, under the key `PREFERS`:

    _prefers_:
      model.normalization: global

only where another key has a certain value, or a group a certain option,

    _prefers_:
      model.normalization: {algorithm.tunes=head: global}
      algorithm.outer.optimizer: {hypernet=none: sgd}

or what suits its own keys for each kind of task, under `BY_KIND`, which says what ``auto`` means for these keys:

    _by_kind_:
      classification: {inner_lr: 0.4}
      regression: {inner_lr: 0.01}
      gaussian: {inner_lr: 0.1}

where a value may depend on conditions too, the first that holds: ``{algorithm=maml_pp: 0.1, otherwise: 1.0}``.

Episodes of a further test data set have the shape of the run's own where its keys (`SHAPE`) are ``auto``.

The kind is that of the dataset: its key ``kind``, or `KIND` in its YAML file; without either, classification. What is
said of a likelihood (``gaussian``) comes before what is said of the kind.

For each key that may take a preference, `RULES` has a function of the whole configuration. A value that is typed, or
set by an ``experiment/``, is not ``auto`` and stays.
"""

from collections.abc import Callable, Mapping
from typing import Any

from metarun.config.groups import PARTS, TESTS
from metarun.core.errors import UserError
from metarun.core.names import FOLLOWED, LIKELIHOODS, TASK_KINDS, shown

AUTO = "auto"
PREFERS = "_prefers_"
BY_KIND = "_by_kind_"
OTHERWISE = "otherwise"
KIND = "_kind_"

SHAPE = ("ways", "shots", "queries")
"""Keys of a dataset that say how large its episodes are."""

Choices = Mapping[str, str | None]
Found = tuple[Any, str]
"""A value, and what it follows from: ``algorithm=protonet``, or ``no preference``."""
Before = Mapping[str, Found]
"""What has been found of other keys already: of those that follow from the kind of task, and by earlier `RULES`."""


def preferred(key: str, otherwise: Any, config: Mapping[str, Any], choices: Choices, before: Before) -> Found:
    """The first preference for a key, the algorithm's before those of the other groups; else ``otherwise``."""
    for group in ("algorithm", *(name for name in PARTS if name != "algorithm")):
        node = config.get(group)
        preferences = node.get(PREFERS) if isinstance(node, Mapping) else None
        wanted = preferences.get(key) if isinstance(preferences, Mapping) else None
        if wanted is not None:
            met = _met(wanted, f"{group}={choices.get(group)}", config, choices, before)
            if met is not None:
                return met
    return otherwise, "no preference"


def _met(wanted: Any, origin: str, config: Mapping[str, Any], choices: Choices, before: Before) -> Found | None:
    """The value itself, or of a mapping from conditions the first value whose condition holds."""
    if not isinstance(wanted, Mapping):
        return wanted, origin
    holding = (condition for condition in wanted if _holds(condition, config, choices, before))
    first = next(holding, None)
    return None if first is None else (wanted[first], origin if first == OTHERWISE else f"{origin} {first}")


def _holds(condition: str, config: Mapping[str, Any], choices: Choices, before: Before) -> bool:
    """Whether a key has the value, or a group the option, that ``key=value`` says; ``otherwise`` always does."""
    if condition == OTHERWISE:
        return True
    key, _, value = condition.partition("=")
    if key in PARTS:
        return choices.get(key) == value
    return str(before[key][0] if key in before else _value(config, key)) == value


def _normalization(config: Mapping[str, Any], choices: Choices, before: Before) -> Found:
    engine = config.get("engine")
    if isinstance(engine, Mapping) and engine.get("transductive") is True:
        return "batch", "engine.transductive=true"
    return preferred("model.normalization", "batch", config, choices, before)


def _inner_steps(config: Mapping[str, Any], choices: Choices, before: Before) -> Found:
    """A preference, such as the dataset's; else what the algorithm says of the kind of task; else one step."""
    steps, origin = preferred("algorithm.inner_steps", None, config, choices, before)
    return before.get("algorithm.inner_steps", (1, origin)) if steps is None else (steps, origin)


def _likelihood(kind: str, config: Mapping[str, Any], choices: Choices) -> Found:
    """That of the dataset's labels, if it declares one; for real targets the preferred one; else that of the kind."""
    labels = preferred("likelihood", None, {"dataset": config.get("dataset")}, choices, {})
    if labels[0] is not None:
        return labels
    usual = dict(zip(TASK_KINDS, LIKELIHOODS, strict=False))[kind], f"{kind}, dataset={choices.get('dataset')}"
    if kind == TASK_KINDS[0]:
        return usual
    found = preferred("likelihood", None, config, choices, {})
    return usual if found[0] is None else found


def _outer_optimizer(config: Mapping[str, Any], choices: Choices, before: Before) -> Found:
    return preferred("algorithm.outer.optimizer", "adam", config, choices, before)


def _outer_lr(config: Mapping[str, Any], choices: Choices, before: Before) -> Found:
    return preferred("algorithm.outer.lr", 0.001, config, choices, before)


def _gradient_clip(config: Mapping[str, Any], choices: Choices, before: Before) -> Found:
    return preferred("engine.gradient_clip", None, config, choices, before)


RULES: dict[str, Callable[[Mapping[str, Any], Choices, Before], Found]] = {
    "algorithm.inner_steps": _inner_steps,
    "algorithm.outer.optimizer": _outer_optimizer,
    "algorithm.outer.lr": _outer_lr,
    "model.normalization": _normalization,
    "engine.gradient_clip": _gradient_clip,
}


def usual_values(option: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """What an option's file says of its keys for a kind of task, where no condition on other parts holds."""
    values = option.get(BY_KIND, {}).get(kind, {})
    return {name: value[OTHERWISE] if isinstance(value, Mapping) else value for name, value in values.items()}


def kind_of(dataset: Mapping[str, Any]) -> str:
    """The kind of a dataset's tasks, according to its configuration."""
    kind = dataset.get("kind", dataset.get(KIND, TASK_KINDS[0]))
    return kind if kind in TASK_KINDS else TASK_KINDS[0]  # any other is refused later


def auto_values(config: Mapping[str, Any], choices: Choices) -> dict[str, Found]:
    """What each key that is ``auto`` gets."""
    found: dict[str, Found] = {}
    dataset, typed = config.get("dataset"), config.get("likelihood")
    kind = kind_of(dataset) if isinstance(dataset, Mapping) else TASK_KINDS[0]
    chosen = _likelihood(kind, config, choices) if typed == AUTO else None
    likelihood = typed if chosen is None else chosen[0]
    origins = {kind: f"{kind}, dataset={choices.get('dataset')}", likelihood: f"likelihood={likelihood}"}
    for group in PARTS:
        node = config.get(group)
        by_kind = node.get(BY_KIND) if isinstance(node, Mapping) else None
        for what, origin in origins.items():
            values = by_kind.get(what) if isinstance(by_kind, Mapping) else None
            for name, value in values.items() if isinstance(values, Mapping) else ():
                met = _met(value, origin, config, choices, found)
                if _value(config, f"{group}.{name}") == AUTO and met is not None:
                    found[f"{group}.{name}"] = met
    found |= _shapes(config)
    for key, rule in RULES.items():
        if _value(config, key) == AUTO:
            found[key] = rule(config, choices, found)
    return found if chosen is None else found | {"likelihood": chosen}


def _shapes(config: Mapping[str, Any]) -> dict[str, Found]:
    """The shape of the run's own episodes, for each data set that it is tested on besides."""
    base = config.get("dataset")
    return {
        f"{TESTS}.{name}.{key}": (base[key], f"dataset.{key}")
        for name, node in tests(config).items()
        for key in SHAPE
        if node.get(key) == AUTO and isinstance(base, Mapping) and key in base
    }


def tests(config: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The further data sets of a configuration, by name. Raises `UserError` where they are no data sets."""
    found = config.get(TESTS) or {}
    if isinstance(found, Mapping) and all(isinstance(node, Mapping) for node in found.values()):
        return {str(name): node for name, node in found.items()}
    raise UserError(
        f"{TESTS}={shown(found)}: data sets are expected; on the command line {TESTS}=[omniglot,glyphs], in the "
        f"defaults of a YAML file '- override /{TESTS}: [omniglot, glyphs]'"
    )


def refuse_other_kinds(config: Mapping[str, Any], choices: Choices) -> None:
    """Refuse further data sets whose files declare another kind of task than that of the run's own."""
    base = _declared(config.get("dataset"))
    for name, node in tests(config).items():
        kind = _declared(node)
        if base is not None and kind not in (None, base):
            raise UserError(
                f"{TESTS}.{name}: its tasks are {kind}, and those of dataset={choices.get('dataset')} are {base}; "
                "choose a data set of that kind"
            )


def _declared(dataset: Any) -> str | None:
    """The kind that a dataset's configuration names, if it names one."""
    found = dataset.get("kind", dataset.get(KIND)) if isinstance(dataset, Mapping) else None
    return found if found in TASK_KINDS else None


def _value(config: Mapping[str, Any], key: str) -> Any:
    """The value of a key such as ``algorithm.outer.lr``; ``None`` if there is no such key."""
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, Mapping):
            return None
        node = node.get(name)
    return node


def as_comments(found: Mapping[str, Found]) -> list[str]:
    """What `auto_values` found as comments of YAML, a line each."""
    return [f"# {key}: {shown(value)} (auto: {origin})" for key, (value, origin) in found.items()]


def resolve_auto(values: dict[str, Any], choices: Choices) -> None:
    """Replace what is ``auto`` in a configuration of builtin types, say where it came from, and drop preferences.

    Raises `UserError` for invalid further data sets, or of another kind than the dataset of the run.
    """
    refuse_other_kinds(values, choices)
    found = auto_values(values, choices)
    for key, (value, _) in found.items():
        *path, name = key.split(".")
        node = values
        for part in path:
            node = node[part]
        node[name] = value
    for node in (*values.values(), *tests(values).values()):
        if isinstance(node, dict):
            for note in (PREFERS, BY_KIND, KIND):
                node.pop(note, None)
    if found:
        values[FOLLOWED] = {key: origin for key, (_, origin) in found.items()}
