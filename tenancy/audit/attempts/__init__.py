"""What was tried and refused: recorded for the organization that it concerns, and never without bound."""
