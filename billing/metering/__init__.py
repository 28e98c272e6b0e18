"""What was used: usage events, counted exactly once, and their hourly roll-up."""
