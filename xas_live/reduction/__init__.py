"""From a measured sweep to a normalised spectrum on a grid, as linear algebra."""
