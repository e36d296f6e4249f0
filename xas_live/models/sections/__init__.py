"""What a model may carry beside its networks: domain, phases, preview, size, latent coordinates."""
