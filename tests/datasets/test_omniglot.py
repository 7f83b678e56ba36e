"""Omniglot: small stand-ins for its zips, and the real ones where they are at hand."""

import functools
import http.server
import io
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import drawing

from metarun.core.errors import UserError
from metarun.datasets import omniglot, omniglot_files
from metarun.datasets.bank import Bank
from metarun.datasets.episodes import EpisodicDataset
from metarun.datasets.omniglot import OmniglotConfig, shuffled, vinyals

REAL = Path(__file__).resolve().parents[2] / "../shared/data/omniglot"
needs_omniglot = pytest.mark.skipif(not (REAL / "images_background.zip").is_file(), reason="no shared data: Omniglot")
ALPHABETS = {"images_background": {"Greek": 4, "Hebrew": 3}, "images_evaluation": {"Keble": 3, "ULOG": 2}}


def files(part: str) -> dict[str, bytes]:
    return {
        f"{alphabet}/character{character:02}/{character:04}_{item:02}.png": drawing(7 * character + item)
        for alphabet, characters in ALPHABETS[part].items()
        for character in range(1, characters + 1)
        for item in range(1, 21)
    }


def write_zip(root: Path, part: str, content: dict[str, bytes]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(root / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in content.items():
            archive.writestr(f"{part}/{path}", data)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """12 characters instead of 1,623, of which 5 are for meta-test."""
    monkeypatch.setattr(omniglot_files, "PARTS", {"images_background": 7, "images_evaluation": 5})
    monkeypatch.setattr(omniglot, "_TEST", 4)
    monkeypatch.setattr(omniglot, "_RANDOM_VAL", 3)


@pytest.fixture
def zips(small: None, tmp_path: Path) -> Path:
    for part in ALPHABETS:
        write_zip(tmp_path / "zips", part, files(part))
    return tmp_path / "zips"


def config(root: Path, **changes: Any) -> OmniglotConfig:
    settings = {
        **{"root": str(root), "download": False, "url": "http://127.0.0.1:9", "protocol": "vinyals"},
        **{"rotations": True, "ways": 2, "shots": 1, "queries": 1},
        **{"train_ways": None, "train_shots": None, "train_queries": None},
    }
    return OmniglotConfig(**{**settings, **changes})


def load(root: Path, seed: int = 0, **changes: Any) -> EpisodicDataset:
    return config(root, **changes).load(seed, torch.device("cpu"), torch.float32)


def characters(bank: Bank) -> list[str]:
    """Without the turn."""
    return [name.split("/rot")[0] for name in bank.names]


def assert_refused(message: str, root: Path, **changes: Any) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        load(root, **changes)
    assert "\n" not in str(refusal.value)


def test_ink_is_1_and_sizes_are_means_of_areas(zips: Path) -> None:
    episodes = load(zips, rotations=False)
    image = episodes.bank("train").images[0, 0]
    assert image.shape == (28, 28)
    paper = np.asarray(Image.open(io.BytesIO(files("images_background")["Greek/character01/0001_01.png"])))
    exact = np.kron(~paper, np.ones((4, 4))).reshape(28, 15, 28, 15).mean((1, 3))
    assert np.abs(image.numpy() / 255 - exact).max() <= 0.5 / 255 + 1e-6


def test_vinyals_by_alphabet_and_order(zips: Path) -> None:
    episodes = load(zips, rotations=False)
    assert set(episodes.bank("val").names) == {f"Hebrew/character0{n}" for n in (1, 2, 3)}
    assert episodes.bank("train").names == (*(f"Greek/character0{n}" for n in (1, 2, 3, 4)), "Keble/character01")
    assert len(episodes.bank("test").names) == 4
    assert episodes.protocol()["split"] == "vinyals"
    assert episodes.protocol()["rotations"] is False


@pytest.mark.parametrize("protocol", ["vinyals", "random"])
def test_a_character_and_its_turns_are_in_one_split(zips: Path, protocol: str) -> None:
    episodes = load(zips, protocol=protocol)
    splits = {split: set(characters(episodes.bank(split))) for split in ("train", "val", "test")}
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == 12
    assert all(len(episodes.bank(split).names) == 4 * len(own) for split, own in splits.items())


def test_groups_are_the_alphabets_of_meta_train(zips: Path) -> None:
    # Of Keble one character is for meta-train: with its turns, four classes.
    assert load(zips).groups == ("Greek", "Keble")
    assert load(zips, rotations=False).groups == ("Greek",)
    episodes = load(zips)
    names = episodes.facts("train", episodes.sample("train", 0, 20, 1), 1)["classes"]
    assert {character.split("/rot")[0] for row in names for character in row.split(", ")} == {"Keble/character01"}


def test_turning_before_splitting_would_show(zips: Path) -> None:
    # The leak planted: were classes turned first, the same check would see a character in two splits.
    turned = config(zips)._characters().rotated()
    parts = shuffled(len(turned.names), 0)
    splits = [set(characters(turned.select(parts[split]))) for split in ("train", "val", "test")]
    assert sum(map(len, splits)) > len(set.union(*splits))


def test_random_split_follows_the_seed(zips: Path) -> None:
    names = [load(zips, seed, protocol="random").bank("test").names for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    assert [len(part) for part in shuffled(1623, 0).values()] == [1623 - 4 - 3, 3, 4]


def test_folders_equal_zips(zips: Path, tmp_path: Path) -> None:
    for part in ALPHABETS:
        for path, data in files(part).items():
            target = tmp_path / "folders" / part / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    one, other = load(zips), load(tmp_path / "folders")
    for split in ("train", "val", "test"):
        assert one.bank(split).names == other.bank(split).names
        assert torch.equal(one.bank(split).images, other.bank(split).images)


def test_ink_once_until_a_file_changes(zips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = omniglot_files._ink
    monkeypatch.setattr(omniglot_files, "_ink", lambda part, file: decoded.append(file) or decode(part, file))
    for _ in range(2):
        load(zips)
    assert len(decoded) == 240
    write_zip(zips, "images_background", {**files("images_background"), "Greek/character01/0001_01.png": drawing(50)})
    load(zips)
    assert len(decoded) == 480


def test_stray_files_are_passed_over(zips: Path) -> None:
    with zipfile.ZipFile(zips / "images_background.zip", "a") as archive:
        for path in ("__MACOSX/images_background/Greek/character01/._0001_01.png", "images_background/.DS_Store"):
            archive.writestr(path, b"stray")
        archive.writestr("images_background/../../../escaped/character01/0001_01.png", b"stray")
    assert len(load(zips, rotations=False).bank("val").names) == 3


def test_missing_folder(tmp_path: Path) -> None:
    assert_refused(
        f"no Omniglot under '{tmp_path}/none'; set dataset.root to the folder with images_background.zip and "
        "images_evaluation.zip, or dataset.download=true",
        tmp_path / "none",
    )


def test_no_zip(zips: Path) -> None:
    (zips / "images_evaluation.zip").write_bytes(b"<html>not found</html>")
    assert_refused(r"images_evaluation\.zip cannot be read as a zip file", zips)


def test_a_character_too_few(zips: Path) -> None:
    kept = {path: data for path, data in files("images_background").items() if "Hebrew/character03" not in path}
    write_zip(zips, "images_background", kept)
    assert_refused(r"images_background\.zip has 6 characters; Omniglot's has 7", zips)


def test_a_drawing_too_few(zips: Path) -> None:
    kept = files("images_background")
    del kept["Hebrew/character03/0003_20.png"]
    write_zip(zips, "images_background", kept)
    assert_refused(r"has 19 drawings of Hebrew/character03; Omniglot's has 20", zips)


def test_a_broken_drawing_is_named(zips: Path) -> None:
    name = "Hebrew/character03/0003_20.png"
    write_zip(zips, "images_background", {**files("images_background"), name: drawing(1)[:60]})
    assert_refused(rf"{name} in .*images_background\.zip cannot be read", zips)


class Server(http.server.ThreadingHTTPServer):
    """Serves a folder on the loopback; ``answer`` may change what is sent."""

    answer: Callable[[bytes], bytes] | None = None
    asked: list[str]


class Handler(http.server.SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(self.server.answer(content) if self.server.answer else content)

    def log_message(self, *parts: Any) -> None:
        """Not on the terminal."""


@pytest.fixture
def server(zips: Path) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), functools.partial(Handler, directory=str(zips))) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/"


def test_download(server: Server, zips: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "omniglot"
    fetched = load(target, download=True, url=url(server))
    assert sorted(path.name for path in target.iterdir()) == ["images_background.zip", "images_evaluation.zip"]
    assert torch.equal(fetched.bank("train").images, load(zips).bank("train").images)
    (target / "images_evaluation.zip").unlink()
    load(target, download=True, url=url(server))
    assert server.asked == ["/images_background.zip", "/images_evaluation.zip", "/images_evaluation.zip"]


def assert_nothing_left(target: Path) -> None:
    assert not target.exists() or list(target.iterdir()) == []


def test_a_truncated_download(server: Server, tmp_path: Path) -> None:
    server.answer = lambda content: content[:-1000]
    assert_refused(
        r"could not download http://127.*/images_background\.zip to .*: .*ended after [\d,]+ of [\d,]+ bytes",
        tmp_path / "new",
        **{"download": True, "url": url(server)},
    )
    assert_nothing_left(tmp_path / "new")


def test_a_download_of_something_else(server: Server, zips: Path, tmp_path: Path) -> None:
    server.answer = lambda content: b"x" * len(content)
    settings = {"download": True, "url": url(server)}
    assert_refused(r"/images_background\.zip is not the official file: .*zip", tmp_path / "new", **settings)
    assert_nothing_left(tmp_path / "new")
    server.answer = None
    write_zip(zips, "images_background", files("images_evaluation"))
    assert_refused("is not the official file: .* has 5 characters", tmp_path / "new", **settings)
    assert_nothing_left(tmp_path / "new")


def test_a_download_with_a_flipped_byte(server: Server, tmp_path: Path) -> None:
    def flipped(content: bytes) -> bytes:
        place = content.index(b"0001_03.png") + 40
        return content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]

    server.answer = flipped
    assert_refused("is not the official file", tmp_path / "new", download=True, url=url(server))
    assert_nothing_left(tmp_path / "new")


def test_missing_download(server: Server, zips: Path, tmp_path: Path) -> None:
    (zips / "images_background.zip").unlink()
    assert_refused("could not download .*: .*404", tmp_path / "new", download=True, url=url(server))
    assert_refused("could not download .*: ", tmp_path / "new", download=True, url="http://127.0.0.1:9")
    assert_refused("could not download .*: unknown url type", tmp_path / "new", download=True, url="nowhere")
    assert_nothing_left(tmp_path / "new")


@needs_omniglot
def test_the_real_split_is_that_of_the_published_lists() -> None:
    parts = [omniglot_files.find(REAL, part) for part in omniglot_files.PARTS]
    names = [character for part in parts if part for character in part.characters]
    classes = vinyals(names)
    for split in ("train", "val", "test"):
        published = (REAL / "splits_vinyals" / f"{split}.txt").read_text().split()
        turned = {f"{names[number]}/rot{turn}" for number in classes[split] for turn in ("000", "090", "180", "270")}
        assert turned == set(published)
        assert len(published) == 4 * len(classes[split])


@needs_omniglot
@pytest.mark.slow
def test_the_real_thing_loads() -> None:
    episodes = load(REAL, ways=5, queries=15)
    assert episodes.protocol()["classes"] == {"train": 4112, "val": 688, "test": 1692}
    batch = episodes.sample("test", 0, 32)
    assert batch.query.x.shape == (32, 75, 1, 28, 28)
    assert 0.05 < float(batch.query.x.mean()) < 0.1  # 7.8 % ink
