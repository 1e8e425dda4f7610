"""The released UCE files: fetched, checked, read and converted."""
