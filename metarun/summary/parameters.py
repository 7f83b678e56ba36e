"""The parameters of a run: of the task model, the hypernetwork, and the meta-parameters."""

from metarun.core.columns import columns
from metarun.core.names import shown
from metarun.learner.learner import moving
from metarun.models.base import Parameters, count, layer_of
from metarun.models.memory import MEMORY
from metarun.summary.planned_run import PlannedRun

_GROUPS = {
    "theta": "θ₀, the initialization of the task model",
    "embedding": "task embedding",
    "hypernet": "hypernetwork",
    "algorithm": "algorithm",
}


def task_model(run: PlannedRun) -> str:
    """The layers of the task model, and which are generated."""
    theta: Parameters = dict(run.learner.model.network.named_parameters())
    made = run.learner.hypernet.generated
    rows = _layers(theta)
    if made:
        start = {name: "generated" if name in made else "shared" for name in theta}
        rows = [
            [*row, ", ".join(dict.fromkeys(start[name] for name in theta if layer_of(name) == row[0]))] for row in rows
        ]
    return f"Task model ({run.choice('model')}): θ, {count(theta):,} parameters\n{columns(rows, right=[2])}"


def hypernet(run: PlannedRun) -> str:
    """Sizes of the hypernetwork and the task embedding; empty without a hypernetwork."""
    network, embedding = run.learner.hypernet, run.settings.embedding
    if not network.generated:
        return ""
    theta: Parameters = dict(run.learner.model.network.named_parameters())
    made = count({name: theta[name] for name in network.generated})
    return (
        f"Hypernetwork ({run.choice('hypernet')}): f, {count(run.phi['hypernet']):,} parameters, "
        f"generates {made:,} of θ⁰ from e\n"
        f"  e ({run.choice('embedding')}): size {embedding.size:,}, {count(run.phi['embedding']):,} parameters"
    )


def meta_parameters(run: PlannedRun) -> str:
    """The groups of φ, and their layers."""
    phi, learned = moving(run.phi), run.learner.learned(run.phi)
    total, free = (sum(map(count, groups.values())) for groups in (phi, learned))
    held = f", {total - free:,} of them frozen" if free < total else ""
    lines = [f"Meta-parameters φ: {total:,} parameters{held}"]
    sizes = [[_GROUPS[group], f"{count(tensors):,}"] for group, tensors in phi.items() if tensors]
    lines.append(columns(sizes, right=[1]))
    for group in ("embedding", "hypernet", "algorithm"):
        if phi[group]:
            lines += [f"  {group}", columns(_layers(phi[group]), right=[2], margin=4)]
    remembered = run.phi[MEMORY]
    if remembered:
        lines += [
            f"State kept over tasks, without gradients: {count(remembered):,} values",
            columns(_layers(remembered), right=[2]),
        ]
    return "\n".join(lines)


def _layers(parameters: Parameters) -> list[list[str]]:
    """A row for each layer: its name, its tensors with their shapes, its number of parameters."""
    tensors: dict[str, list[str]] = {}
    numbers: dict[str, int] = {}
    for name, tensor in parameters.items():
        layer = layer_of(name)
        suffix = name.removeprefix(f"{layer}.") if layer != name else ""
        tensors.setdefault(layer, []).append(f"{suffix} {shown(list(tensor.shape))}".strip())
        numbers[layer] = numbers.get(layer, 0) + tensor.numel()
    return [[layer, "  ".join(tensors[layer]), f"{numbers[layer]:,}"] for layer in tensors]
