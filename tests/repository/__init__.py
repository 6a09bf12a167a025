"""Tests of the repository itself: docs, layers, packaging, deployment files."""
