"""Labels from a reference."""
