"""Provenance of a run: the command, the git revision of the user's files, and versions."""

import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from metarun.config.quoting import command_line
from metarun.runs.versions import versions

PATIENCE = 5
"""Seconds that git may take."""


def origin(config: Mapping[str, Any], launcher: str, *, swept: bool) -> str:
    """Markdown for people. ``launcher``: what starts several processes; ``swept``: whether it is a job of a sweep."""
    told = {"command": launcher + command(config, swept=swept), "folder": str(Path.cwd())}
    if (found := revision(Path.cwd())) is not None:
        told["git revision"] = found
    told |= versions()
    return "\n".join(f"* {name}: `{value}`" for name, value in told.items())


def command(config: Mapping[str, Any], *, swept: bool) -> str:
    """The command line that was typed; of a job of a sweep, the one that would run this job alone."""
    if swept and HydraConfig.initialized():
        return command_line(config, *HydraConfig.get().overrides.task)
    return shlex.join(["metarun", *sys.argv[1:]])


def revision(folder: Path) -> str | None:
    """The git commit that a folder is at, and whether its files differ from it; ``None`` where there is none."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return commit if changed == "" else f"{commit}, with changes"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
