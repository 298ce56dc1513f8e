"""acpctl: see and control an acpbot daemon over its management socket."""

__version__ = "0.2.0"
