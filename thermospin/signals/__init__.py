"""Harmonic signals of experiments, their derivatives, and why a solve failed."""
