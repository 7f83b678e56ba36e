"""How many parameters there are, by hand."""

from builders import build, waves

from metarun.training.sizes import sizes

MLP = ("model=mlp", "model.hidden=[8,4]")
THETA = 1 * 8 + 8 + 8 * 4 + 4 + 4 * 1 + 1


def test_without_a_hypernetwork_all_is_the_start() -> None:
    assert sizes(*build(waves(), *MLP)) == {
        **{"theta": THETA, "theta made": 0, "phi": THETA},
        **{"phi theta": THETA, "phi embedding": 0, "phi hypernet": 0, "phi algorithm": 0},
    }


def test_what_makes_the_task_model_counts_by_group() -> None:
    learner, phi = build(waves(), *MLP, "hypernet=full", "hypernet.hidden=[6]", "embedding=support", "embedding.size=3")
    found = sizes(learner, phi)
    assert found["theta"] == found["theta made"] == THETA
    assert found["phi hypernet"] == sum(tensor.numel() for tensor in phi["hypernet"].values())
    assert found["phi embedding"] == sum(tensor.numel() for tensor in phi["embedding"].values()) > 0
    assert found["phi"] == sum(found[f"phi {group}"] for group in ("theta", "embedding", "hypernet", "algorithm"))


def test_learned_step_sizes_count_and_those_held_do_not() -> None:
    held, learned = (sizes(*build(waves(), *MLP, f"algorithm={name}")) for name in ("maml", "meta_sgd"))
    assert held["phi algorithm"] == 0
    assert learned["phi algorithm"] == THETA
