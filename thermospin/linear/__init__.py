"""Sparse matrices and the multigrid preconditioner; no physics."""
