"""Removing the files of a run that did not start."""

import logging
import shutil
from pathlib import Path


class Cleanup:
    """What was at a folder's place before this process, to remove what came since."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._missing = [place for place in (folder, *folder.parents) if not place.exists()]
        self._content = set(folder.iterdir()) if folder.is_dir() else set()

    def remove(self) -> None:
        """Remove the folder's new content, and the folders that were made for it where nothing else is in them."""
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()
        if self._folder.is_dir():
            for path in set(self._folder.iterdir()) - self._content:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for place in self._missing:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()
