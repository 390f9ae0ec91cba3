"""The version of the program, which reports and saved fits record."""

__version__ = "0.1.0"
