"""Mediana beside its peers."""
