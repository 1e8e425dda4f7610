"""Alignment of cell types across data sets and tissues."""
