"""One shard's single writer: apply a batch and commit it."""
