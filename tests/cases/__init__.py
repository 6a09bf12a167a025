"""Mistakes that people met in other products, as small inputs with the right answer."""
