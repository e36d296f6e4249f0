"""From site spectra to trained, calibrated bundles."""
