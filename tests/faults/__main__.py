"""Run the campaign: ``python tests/faults``, with ``--help`` for more."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # this directory is a package of that one, as pytest has it

from faults.command import main  # noqa: E402 - it wouldn't be found before

sys.exit(main())
