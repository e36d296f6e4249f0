"""Model bundles: card, weights, networks, ensemble, uncertainty, domain."""
