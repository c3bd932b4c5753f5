"""Metrics of likelihood, of the latent space and of generated text."""
