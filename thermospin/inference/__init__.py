"""Parameters from data: misfit, minimisers, results, uncertainty, rival models."""
