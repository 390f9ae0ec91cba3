"""Measured signals: tables of them, and lock-in sweeps."""
