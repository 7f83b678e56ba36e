"""How much memory there is."""

from pathlib import Path

import pytest
import torch

from metarun.core.free_memory import available, host

INFO = "MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable:    4000 kB\n"


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_matrix_product_equals_the_convolution(tmp_path: Path) -> None:
    assert host(machine(tmp_path, {"proc/meminfo": INFO, "proc/self/cgroup": "0::/\n"})) == 4000 * 1024


def test_the_narrowest_group_above_counts(tmp_path: Path) -> None:
    groups = "sys/fs/cgroup"
    files = {
        "proc/meminfo": INFO,
        "proc/self/cgroup": "0::/user/job\n",
        f"{groups}/user/memory.max": "3000000\n",
        f"{groups}/user/memory.current": "2000000\n",
        f"{groups}/user/memory.stat": "anon 5\ninactive_file 500000\n",
        f"{groups}/user/job/memory.max": "max\n",
        f"{groups}/user/job/memory.current": "1000\n",
    }
    assert host(machine(tmp_path, files)) == 3000000 - 2000000 + 500000


def test_groups_of_the_older_interface_count(tmp_path: Path) -> None:
    groups = "sys/fs/cgroup/memory"
    files = {
        "proc/meminfo": INFO,
        "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/only/known/outside\n0::/\n",
        f"{groups}/memory.limit_in_bytes": "3000000\n",
        f"{groups}/memory.usage_in_bytes": "1000000\n",
        f"{groups}/memory.stat": "inactive_file 7\ntotal_inactive_file 20\n",
    }
    assert host(machine(tmp_path, files)) == 2000020


def test_more_used_than_allowed_leaves_nothing(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/memory.max": "10\n",
        "sys/fs/cgroup/memory.current": "11\n",
    }
    assert host(machine(tmp_path, files)) == 0


def test_free_memory_is_unknown_without_a_source(tmp_path: Path) -> None:
    assert host(tmp_path) is None


def test_free_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (12, 80))
    assert available(torch.device("cuda:0")) == 12
