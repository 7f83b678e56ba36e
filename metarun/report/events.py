"""Curves from TensorBoard's event files, read record by record: only scalars are kept, and nothing is loaded twice.

The files' frame is that of TFRecord: length (8 bytes, little-endian), its checksum (4), that many bytes, their checksum
(4). Checksums are not verified: a record that is torn, or no event, is refused by its parser.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event

PATTERN = "events.out.tfevents.*"
Curves = dict[str, dict[int, float]]
"""Tag → step → value."""


def curves(folder: Path) -> Curves:
    """All scalars of a run; what a resumed run wrote again replaces what was there.

    A file that breaks off, as that of a running or killed run may, is read up to there.
    """
    found: Curves = {}
    for file in sorted(folder.glob(PATTERN), key=lambda path: path.name):
        for event in _events(file):
            if event.WhichOneof("what") == "session_log" and event.session_log.status == event.session_log.START:
                _forget(found, event.step)
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def _forget(found: Curves, step: int) -> None:
    """A writer begins again at ``step``: what an earlier one wrote from there on does not count."""
    for tag, curve in found.items():
        found[tag] = {at: value for at, value in curve.items() if at < step}


def _events(file: Path) -> Iterator["Event"]:
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.event_pb2 import Event

    with file.open("rb") as stream:
        while len(head := stream.read(12)) == 12:
            length = int.from_bytes(head[:8], "little")
            if length > file.stat().st_size:
                return
            body = stream.read(length)
            stream.read(4)
            try:
                yield Event.FromString(body)
            except DecodeError:
                return
