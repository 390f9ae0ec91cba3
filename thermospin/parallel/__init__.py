"""Solves on several accelerators: shards, batches of tasks, clusters."""
