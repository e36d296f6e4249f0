"""What a network may give, and how sure it is of it."""
