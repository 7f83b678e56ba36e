"""Available memory."""

from collections.abc import Iterator
from pathlib import Path

import torch


def available(device: torch.device) -> int | None:
    """Bytes free on the device; ``None`` where that is not to be known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return host()


def host(root: Path = Path("/")) -> int | None:
    """Bytes that the kernel would give to new processes, or fewer where a control group (a container) has a limit."""
    rooms = [*_machine(root), *_groups(root)]
    return max(0, min(rooms)) if rooms else None


def _machine(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _groups(root: Path) -> Iterator[int]:
    """What the limit of each control group above this process leaves, in versions 1 and 2 of the kernel's interface."""
    mounted = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            folder, names = (
                mounted / "memory",
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            )
        elif not controllers:
            folder, names = mounted, ("memory.max", "memory.current", "inactive_file")
        else:
            continue
        group = folder / path.strip("/")
        # A container may see its own group as the mount's root, under a path that is only known outside.
        for place in (group, *group.parents):
            if place.is_relative_to(folder):
                yield from _room(place, *names)


def _room(group: Path, limit_file: str, usage_file: str, cache: str) -> Iterator[int]:
    limit, usage = _lines(group / limit_file), _lines(group / usage_file)
    if not limit or not usage or limit[0] == "max":
        return
    # File pages that nobody uses count as usage, and are given back when memory is wanted.
    reclaimable = [int(line.split()[1]) for line in _lines(group / "memory.stat") if line.startswith(f"{cache} ")]
    yield int(limit[0]) - int(usage[0]) + sum(reclaimable)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").splitlines()
    except OSError:
        return []
