"""The ground floor: what every room may use, and nothing of which knows about emotions."""
