"""``python tests/fuzz --count N``: a long campaign."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
import time
from pathlib import Path

from .campaign import try_parts, try_results


def main() -> None:
    """Try files of each kind; the first that does harm ends it with a traceback."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many files of each kind")
    parser.add_argument("--seed", type=int, help="the same seed makes the same files")
    parser.add_argument("--kind", choices=["parts", "results"], help="only these")
    arguments = parser.parse_args()
    number = secrets.randbelow(10**6) if arguments.seed is None else arguments.seed
    for kind, attempt in (("parts", try_parts), ("results", try_results)):
        if arguments.kind in (None, kind):
            with tempfile.TemporaryDirectory(prefix="perun-fuzz-") as directory:
                start_s = time.monotonic()
                outcomes = dict(attempt(Path(directory), arguments.count, number))
                took_s = time.monotonic() - start_s
                sys.stdout.write(f"{kind}: {outcomes}, none did harm; seed {number}, {took_s:.0f} s\n")
                sys.stdout.flush()
