"""`milepost dev` and `milepost demo`: everything on this machine, as real processes."""
