"""``python -m metarun``."""

import sys

from metarun.command.cli import main

sys.exit(main())
