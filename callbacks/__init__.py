"""Bluesky callbacks: documents in, predictions out."""

if __name__ == "callbacks":
    raise ImportError(
        "import xas_live.callbacks, not callbacks: a second copy of its classes would be loaded"
    )
