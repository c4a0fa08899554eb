"""The sensor backends that come with perun_like, one file each."""
