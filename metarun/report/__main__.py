"""``python -m metarun.report``, and the command ``metarun-report``."""

import sys

from metarun.report.command import main

if __name__ == "__main__":
    sys.exit(main())
