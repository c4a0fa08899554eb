"""A process that reads hostile files in our place; a new one after each that it didn't survive."""

from __future__ import annotations

import ast
import select
import subprocess
import sys
from pathlib import Path

PATIENCE_S = 20.0  # of a file that takes 20 ms: other processes may need this machine too


class Reader:
    """Reads files, one after the other, in a process of its own."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def read(self, kind: str, path: str) -> str:
        """What came of a file: ``read``, ``refused``, or what should not be."""
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        process.stdin.write(f"{kind} {path}\n")
        process.stdin.flush()
        answer = self._answer(process)
        if answer is None:
            process.kill()
            answer = repr("hung")
        if answer == "":
            answer = repr(f"died: exit code {process.wait()}")
        if process.poll() is not None or answer == repr("hung"):
            self.close()
        return str(ast.literal_eval(answer))

    @staticmethod
    def _answer(process: subprocess.Popen[str]) -> str | None:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE_S)
        return process.stdout.readline() if ready else None

    @staticmethod
    def _started() -> subprocess.Popen[str]:
        worker = str(Path(__file__).with_name("worker.py"))
        process = subprocess.Popen([sys.executable, worker], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
