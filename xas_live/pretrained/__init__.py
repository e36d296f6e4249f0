"""Bundles that ship with xas_live: a folder each, of card.json and weights.safetensors."""
