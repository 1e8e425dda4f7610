"""What computes the features of a protein: protein language models, text, and vectors from elsewhere."""
