"""What customers' own servers are told: events, where they go, and how they get there."""
