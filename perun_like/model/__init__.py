"""Plain data: what was recorded and the tree that results. No I/O."""
