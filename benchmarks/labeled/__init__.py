"""Labeled data sets, cheap representations of them, and their scores."""
