"""The files of the released UCE models: fetched, checked, read and converted."""
