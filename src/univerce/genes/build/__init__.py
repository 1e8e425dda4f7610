"""Gene tables of new species, from proteins and annotations."""
