"""Hours of steady traffic, judged."""
