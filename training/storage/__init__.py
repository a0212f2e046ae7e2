"""Bags as they lie on disk: whole, split, compressed, without metadata or damaged."""
