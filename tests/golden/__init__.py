"""Whole histories with the report expected of them."""
