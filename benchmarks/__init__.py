"""Measurements of speed, memory and quality, run from a checkout; no part of the wheel."""
