"""Decisions, as pure functions: no I/O; clock and randomness are passed in."""
