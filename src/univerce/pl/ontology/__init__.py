"""Cell types compared with an ontology."""
