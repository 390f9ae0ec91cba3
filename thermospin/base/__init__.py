"""Errors, names, units, text, files and polygons, for use by all other packages."""
