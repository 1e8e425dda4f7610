"""Cell types beside an ontology."""
