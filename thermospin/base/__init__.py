"""Errors, names, text and files: what every other package may use."""
