"""The three ways a handler runs: on the loop, in a thread, in a process of its own."""
