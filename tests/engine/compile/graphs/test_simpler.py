from metarun.engine.compile.graphs.simpler import SimplerGraph


def test_inductor_tells_another_version_of_the_pass_from_this_one() -> None:
    assert SimplerGraph().uuid() == SimplerGraph().uuid() != b""
