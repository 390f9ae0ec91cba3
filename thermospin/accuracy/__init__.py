"""Error bars of signals, grids adapted to them, self-checks and sensitivities."""
