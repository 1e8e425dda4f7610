"""Discovery of cells, and how they differ from others."""
