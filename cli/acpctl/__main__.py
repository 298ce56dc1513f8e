"""`python -m acpctl`."""

from acpctl.app import main

main()
