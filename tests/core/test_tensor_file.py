"""Files of tensors and plain values: exact, without pickle, and refused after any change."""

import math
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from metarun.core import tensor_file
from metarun.core.errors import UserError
from metarun.core.tensor_file import Damaged, read, read_plain, write

CPU = torch.device("cpu")


def through(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    write(path, content)
    return read(path, CPU)


def same(one: Any, other: Any) -> bool:
    """Equality of type and value: NaN equals NaN, and 0.0 is neither -0.0 nor 0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one.view(torch.uint8), other.view(torch.uint8))
    return repr(one) == repr(other)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=9) | st.integers(), inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$tensor", "$dict", "$float", "a/b", ""]), inner, max_size=2)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=9), VALUES, max_size=3))
def test_plain_values_round_trip(tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]) -> None:
    assert same(through(tmp_path_factory.getbasetemp() / "plain", content), content)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor([0.1, -0.0, math.nan, math.inf]), torch.tensor(1.5), torch.zeros(0, 3), torch.arange(4),
        torch.tensor([True, False]), torch.tensor([1 / 3], dtype=torch.float64), torch.ones(3, dtype=torch.bfloat16),
        torch.arange(6.0).view(2, 3).T, torch.ones(2, requires_grad=True), torch.ones(1).expand(4),
    ],
    ids=str,
)  # fmt: skip
def test_tensors_come_back_bit_for_bit(tmp_path: Path, tensor: torch.Tensor) -> None:
    (found,) = through(tmp_path / "file", {"a": {7: (tensor,)}})["a"][7]
    assert (found.dtype, found.shape, found.requires_grad) == (tensor.dtype, tensor.shape, False)
    wanted = tensor.detach().contiguous()
    if wanted.dim():
        assert same(found, wanted)
    else:
        assert found == wanted


def test_colliding_names_are_distinguished(tmp_path: Path) -> None:
    one, two = torch.zeros(1), torch.ones(1)
    content = {"a": {"b": one}, "a/b": two, "a/b~2": one, "ä": two, "\\xe4": one}
    assert same(through(tmp_path / "file", content), content)


def test_tensors_that_share_memory_are_separate_after_loading(tmp_path: Path) -> None:
    whole = torch.zeros(4)
    found = through(tmp_path / "file", {"whole": whole, "again": whole, "half": whole[:2]})
    found["whole"] += 1
    assert not found["again"].any()
    assert not found["half"].any()


def test_file_is_readable_by_safetensors(tmp_path: Path) -> None:
    write(tmp_path / "file", {"phi": {"theta": {"head.weight": torch.eye(2)}}, "step": 3})
    assert torch.equal(load_file(tmp_path / "file")["phi/theta/head.weight"], torch.eye(2))


def test_its_plain_part_is_read_without_pytorch(tmp_path: Path) -> None:
    write(tmp_path / "file", {"config": {"seed": 3}, "phi": torch.zeros(2)})
    assert read_plain(tmp_path / "file") == {"config": {"seed": 3}, "phi": None}
    program = (
        "import sys, pathlib; from metarun.core.tensor_file import read_plain; read_plain(pathlib.Path('file'));"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize(
    ("value", "said"),
    [({1}, "a set"), (b"x", "a bytes"), (Path(), "Path"), ({None: 1}, "keys"), ({True: 1}, "keys"), ({1.5: 1}, "keys")],
    ids=str,
)
def test_what_cannot_be_kept_is_refused(tmp_path: Path, value: Any, said: str) -> None:
    with pytest.raises(UserError, match=f"state/some: .*{said}"):
        write(tmp_path / "file", {"state": {"some": value}})
    assert not list(tmp_path.iterdir())


def test_depth_and_size_are_bounded_for_writer_and_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep: Any = 1
    for _ in range(tensor_file.DEEPEST - 1):
        deep = [deep]
    assert same(through(tmp_path / "file", {"a": deep}), {"a": deep})
    with pytest.raises(UserError, match="nested too deeply"):
        write(tmp_path / "file", {"a": [deep]})
    with monkeypatch.context() as patch:
        patch.setattr(tensor_file, "DEEPEST", 200)
        for _ in range(100):
            deep = [deep]
        write(tmp_path / "deep", {"a": deep})
    with pytest.raises(Damaged, match="nested too deeply"):
        read(tmp_path / "deep", CPU)
    monkeypatch.setattr(tensor_file, "LONGEST_HEADER", 1000)
    with pytest.raises(UserError, match="more than 1,000"):
        write(tmp_path / "file", {"a": "x" * 1000})
    (tmp_path / "long").write_bytes((2000).to_bytes(8, "little") + b" " * 5000)
    with pytest.raises(Damaged, match="not a checkpoint"):
        read(tmp_path / "long", CPU)


def changed(data: bytes, chance: random.Random) -> bytes:
    """``data`` after one random accident."""
    place = chance.randrange(len(data))
    match chance.randrange(7):
        case 0 | 1:  # a bit
            return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]
        case 2:  # the end is missing
            return data[:place]
        case 3:  # a block of zeros
            length = min(chance.choice([1, 16, 64]), len(data) - place)
            return data[:place] + bytes(length) + data[place + length :]
        case 4:  # something more
            return data + chance.randbytes(chance.randrange(1, 9))
        case 5:  # bytes lost in the middle
            return data[:place] + data[place + chance.randrange(1, 9) :]
        case _:  # two blocks change places
            half = len(data) // 2
            return data[half:] + data[:half]


def test_no_damage_goes_unnoticed(tmp_path: Path) -> None:
    """In every region: the header's length, names, shapes and plain values, the checksum itself, the tensors."""
    content = {
        "format": 4,
        "config": {"seed": 3, "rate": 1e-05},
        "state": {"step": 12, "phi": {"theta": {"w": torch.randn(6, 5), "b": torch.zeros(3)}}, 0: (0.9, math.nan)},
    }
    file = tmp_path / "file"
    write(file, content)
    whole, chance = file.read_bytes(), random.Random(0)
    accidents = [changed(whole, chance) for _ in range(600)]
    # And each byte of the file once, so that none is left out of the checksum.
    accidents += [whole[:n] + bytes([whole[n] ^ 1 << n % 8]) + whole[n + 1 :] for n in range(len(whole))]
    tried = 0
    for accident in accidents:
        if accident == whole:
            continue
        tried += 1
        file.write_bytes(accident)
        for reader in (lambda: read(file, CPU), lambda: read_plain(file)):
            with pytest.raises(UserError) as caught:
                reader()
            assert "\n" not in str(caught.value)
    assert tried > 1000


def resealed(file: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file's header and make length and checksum right again, as somebody could on purpose."""
    whole = file.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header = change(whole[8 : 8 + length])
    header += b" " * (-len(header) % 8)
    again = bytearray(len(header).to_bytes(8, "little") + header + whole[8 + length :])
    place = tensor_file._place(again)
    assert place is not None
    again[place : place + 64] = tensor_file._digest(again, place).encode()
    file.write_bytes(again)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (rb'\"step\":3', rb'\"step\":NaN'), (rb'\"step\":3', rb'\"step\":'), (rb'\"step\":3', rb'\"step\":{\"$x\":1}'),
        (rb'\"step\":3', rb'\"step\":{\"$float\":\"1\"}'), (rb'\"step\":3', rb'\"step\":{\"$tuple\":1}'),
        (rb'\"step\":3', rb'\"step\":{\"$dict\":[[1]]}'), (rb'\"step\":3', rb'\"step\":{\"$dict\":[[[],1]]}'),
        (rb'\"step\":3', rb'\"step\":{\"$dict\":[[1,1],[1,2]]}'), (rb'\"step\":3', rb'\"step\":{\"$dict\":[1]}'),
        (rb'\"step\":3', rb'\"step\":{\"$tuple\":[],\"a\":1}'), (rb'\"step\":3', rb'\"step\":{\"$tensor\":\"w\"}'),
        (rb'\"step\":3', rb'\"step\":{\"$tensor\":\"v\"}'), (rb'\"step\":3', rb'\"step\":{\"$tensor\":3}'),
        (rb'{\"$tensor\":\"w\"}', b"3"), (rb'\"step\":3', rb'\"step\":' + b"9" * 5000),
        (rb'\"step\":3', rb'\"step\":' + b"[" * 50000 + b"]" * 50000),
        (b'"F32"', b'"F64"'), (b'"F32"', b'"X9"'), (b'"shape":[4]', b'"shape":[5]'), (b'"shape":[4]', b'"shape":[-4]'),
        (b'"shape":[4]', b'"shape":[18446744073709551615,2]'), (b"[0,16]", b"[0,8]"), (b"[0,16]", b"[8,24]"),
        (b'"content"', b'"contents"'), (b'"content":"{', b'"content":"[{'), (b'"w":{', b'"w":[{'),
    ],
    ids=str,
)  # fmt: skip
def test_a_file_made_up_on_purpose_is_refused_too(tmp_path: Path, old: bytes, new: bytes) -> None:
    file = tmp_path / "file"
    write(file, {"w": torch.ones(4), "step": 3})
    resealed(file, lambda header: header)
    assert read(file, CPU)["step"] == 3

    def change(header: bytes) -> bytes:
        assert header.count(old) == 1
        return header.replace(old, new)

    resealed(file, change)
    with pytest.raises(Damaged) as caught:
        read(file, CPU)
    assert re.fullmatch(r".*: a damaged checkpoint: .+", str(caught.value))


def test_invalid_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for data in (b"", b"x", b"garbage of some length", bytes(100), (2).to_bytes(8, "little") + b"{}"):
        file.write_bytes(data)
        with pytest.raises(Damaged, match="not a checkpoint of metarun, or a damaged one"):
            read(file, CPU)
    save_file({"w": torch.ones(2)}, file, metadata={"format": "pt"})
    with pytest.raises(Damaged, match="not a checkpoint of metarun, or a damaged one"):
        read(file, CPU)
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path, CPU)
