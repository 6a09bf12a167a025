"""A simulated messaging service."""
