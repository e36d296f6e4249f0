"""Where documents come from besides a live RunEngine: data files and stored runs."""
