"""The sampling process: clock grid, loop, protocol, spool."""
