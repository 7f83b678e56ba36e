#!/usr/bin/env python
"""Save the figures that a run left for TensorBoard as PNG files, each as last drawn.

    scripts/save_figures.py RUN FOLDER [--prefix NAME] [--tag TAG …]

A figure's file is named after its tag: meta-test-task-embeddings.png, or NAME-task-embeddings.png.
"""

import argparse
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import IMAGES, EventAccumulator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder of a run")
    parser.add_argument("folder", type=Path, help="where to put the pictures")
    parser.add_argument("--prefix", help="instead of the part of the tag before the slash")
    parser.add_argument("--tag", action="append", help="of a figure to save, as meta-test/fits; else all are")
    given = parser.parse_args()
    if not given.run.is_dir():
        parser.error(f"RUN {given.run}: no such folder")
    events = EventAccumulator(str(given.run), size_guidance={IMAGES: 0}).Reload()
    if not events.Tags()[IMAGES]:
        parser.error(f"RUN {given.run}: holds no figures; give the folder of a run that went to its end")
    tags = given.tag or events.Tags()[IMAGES]
    for tag in set(tags) - set(events.Tags()[IMAGES]):
        parser.error(f"--tag {tag}: the run has {', '.join(events.Tags()[IMAGES])}")
    given.folder.mkdir(parents=True, exist_ok=True)
    for tag in tags:
        stage, name = tag.split("/", 1)
        file = given.folder / f"{given.prefix or stage}-{name.replace(' ', '-')}.png"
        file.write_bytes(events.Images(tag)[-1].encoded_image_string)
        print(file)


if __name__ == "__main__":
    main()
