"""Shapes of solids: named dimensions, boxes and outlines."""
