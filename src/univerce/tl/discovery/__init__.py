"""Discovery of cells, and what tells them from others."""
