"""The library against the same in Python."""
