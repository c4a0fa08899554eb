"""The states a monitor goes through."""

from __future__ import annotations

from enum import Enum


class MonitorStatus(Enum):
    """Where a monitor is, or what went wrong."""

    SETUP = "setup"  # made, nothing started
    READY = "ready"  # the sampler can read
    RUNNING = "running"  # the application runs
    PROCESSING = "processing"  # the application has ended well; its data is, or has been, processed
    SCRIPT_ERROR = "script error"  # the application ended with an error; its data is processed all the same
    PERUN_ERROR = "perun error"  # we failed to process or to save; what was sampled is kept
    SP_ERROR = "sampler error"  # the sampling process failed; the application ran without being measured
    MPI_ERROR = "mpi error"  # rank and size contradict each other; nothing was run
    FILE_NOT_FOUND = "file not found"  # the program does not exist; nothing was run
    CLOSED = "closed"
