"""What the computer gives: helper processes, the user's folders, the time of day."""
