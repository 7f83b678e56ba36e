"""Decoded images kept between runs, in the user's cache folder."""

import hashlib
import logging
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from metarun.datasets.bank import Bank

log = logging.getLogger(__name__)

_LAYOUT = "1"
"""Part of every key: to be changed with the layout of the file."""


def folder() -> Path:
    """``$XDG_CACHE_HOME/metarun``, or ``~/.cache/metarun`` where that is not set to an absolute path."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(chosen) if Path(chosen).is_absolute() else Path.home() / ".cache") / "metarun"


def cached(name: str, recipe: str, build: Callable[[], Bank]) -> Bank:
    """The bank that ``build`` makes, read from the cache if ``recipe`` made it before.

    ``recipe`` must name everything that the bank depends on. A broken file is rebuilt; a folder that cannot be
    written costs a line in the log and the time to build.
    """
    digest = hashlib.blake2b(f"{_LAYOUT}\x1f{recipe}".encode(), digest_size=12).hexdigest()
    try:
        path = folder() / f"{name}-{digest}.npz"
    except RuntimeError as error:  # a user without a home, as in a container
        log.warning("no cache (%s): %s will be prepared again by the next run; set XDG_CACHE_HOME", error, name)
        return build()
    if path.exists():
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            log.warning("%s is broken (%s): rebuilding it", path, error)
    bank = build()
    try:
        _write(path, bank)
    except OSError as error:
        log.warning("no cache in %s (%s): %s will be prepared again by the next run", path.parent, error, name)
    return bank


def _read(path: Path) -> Bank:
    with np.load(path, allow_pickle=False) as arrays:
        images, count, names = (arrays[part] for part in ("images", "count", "names"))
    return Bank.of(torch.from_numpy(images), torch.from_numpy(count), names.tolist())


def _write(path: Path, bank: Bank) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, images=bank.images.numpy(), count=bank.count.numpy(), names=np.array(bank.names))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
