"""One suite for all places where agents run: whatever implements `acpbot.runtimes.runtime` must behave alike.

`places` has one entry per place. `local` runs in `make test`, the others by `make test-runtimes`. To add a place, add
it there, and to `acpbot.runtimes.registry`.
"""
