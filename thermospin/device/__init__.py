"""The nanodevice: materials, solids, contacts, experiments, and the files that describe them."""
