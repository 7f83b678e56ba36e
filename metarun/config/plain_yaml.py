"""Reading small YAML files that another person may have written."""

from pathlib import Path
from typing import Any

import yaml

from metarun.core.errors import UserError

LARGEST = 2**20
"""Maximum size in bytes. metarun's own files are a few KB."""


class _Loader(yaml.SafeLoader):
    """Builtin types only, without aliases, which can expand to gigabytes and which metarun never writes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it contains an alias (*name)")
        return super().compose_node(parent, index)


def read_yaml(file: Path) -> Any:
    """The content of ``file``.

    Raises `UserError` if it cannot be read, is not YAML, is larger than `LARGEST`, or contains anything but builtin
    types.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f"{file}: larger than {LARGEST:,} bytes, so metarun did not write it")
        return yaml.load(content.decode("utf-8"), _Loader)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error
