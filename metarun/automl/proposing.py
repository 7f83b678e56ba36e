"""What chooses the next configuration to try on a new data set."""

from metarun.automl.knowledge import Knowledge, shipped_folder
from metarun.hpo.methods.base import Method
from metarun.hpo.registry import LEARNED, methods
from metarun.hpo.settings import HpoSettings
from metarun.hpo.surrogates.base import Surrogate

CHECKPOINT = "surrogate.safetensors"
"""The file beside a table in the package with the meta-learner that was trained on it."""


def proposer(name: str, kind: str, known: Knowledge, trials: int) -> Method:
    """The method of that name, of those in `metarun.hpo.registry`. trials: how many it will be asked for at most."""
    settings = HpoSettings(
        methods=[name],
        acquisition="expected_improvement",
        xi=0.01,
        beta=2.0,
        trials=trials,
        seeds=1,
        initial=5,
        report=[trials],
        source_points=100,
        ensemble=[],
    )
    learned = {LEARNED: learned_surrogate(kind, known)} if name == LEARNED else {}
    return methods(settings, known.history, learned)[name]


def learned_surrogate(kind: str, known: Knowledge) -> Surrogate:
    """The meta-learner in the package. Its file holds numbers and settings; nothing in it is executed."""
    import torch

    from metarun.datasets.configurations import Configurations
    from metarun.runs import checkpoint as checkpoints
    from metarun.setup.assemble import assemble
    from metarun.setup.reload import settings_of
    from metarun.training.learned_surrogate import LearnedSurrogate

    file, device = shipped_folder(kind) / CHECKPOINT, torch.device("cpu")
    content = checkpoints.read(file, device)
    settings = settings_of(content.config, file, "cpu")
    learner, like = assemble(settings, content.problem, device)
    checkpoints.fit(file, content.state, like)
    dataset = settings.load_dataset(device, path=str(shipped_folder(kind)))
    assert isinstance(dataset, Configurations)
    candidates = dataset.with_candidates(known.history.x)
    return LearnedSurrogate(learner, content.state.phi, candidates, "recommend.method=learned")
