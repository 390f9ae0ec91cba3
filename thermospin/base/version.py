"""The version of the program, which journals and reports carry."""

__version__ = "0.1.0"
