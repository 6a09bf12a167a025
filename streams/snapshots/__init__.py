"""From what shards hold to published reports, and reading them."""
