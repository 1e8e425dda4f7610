"""Self-supervised pretraining of UCE networks."""
