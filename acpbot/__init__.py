"""acpbot: coding agents in chat threads, run like a service."""

__version__ = "0.2.0"
