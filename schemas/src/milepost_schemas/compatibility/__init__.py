"""Whether published contracts still keep what released ones promised. For `make check`; nothing imports it at run time.

docs/decisions/0023-what-breaks-a-contract.md says what counts as breaking, and why.
"""
