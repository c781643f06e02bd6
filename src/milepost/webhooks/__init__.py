"""Telling receivers over HTTP that tasks ended: what is sent, how it leaves, who sends it."""
