"""Assignment, claims, fetching and batching."""
