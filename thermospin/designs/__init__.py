"""Better devices: dimensions or the form of a layer that make a signal large."""
