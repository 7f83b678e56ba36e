from metarun.engine.compile.graphs.simpler import SimplerGraph


def test_inductor_distinguishes_versions_of_the_pass() -> None:
    assert SimplerGraph().uuid() == SimplerGraph().uuid() != b""
