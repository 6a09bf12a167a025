"""What is kept in Redis, and the scripts that write it."""
