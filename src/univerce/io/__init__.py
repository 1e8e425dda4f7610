"""Matrices wherever they lie, files, stages of work, and the workers of a cluster."""
