"""A campaign: every method on the data sets and pairs of a TOML file, its tables and its report."""
