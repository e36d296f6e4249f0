"""Detector data in files, read by another process: nothing that a file does can hold up the session."""
