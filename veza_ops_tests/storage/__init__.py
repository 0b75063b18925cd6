"""Veza's files, as veza-ops sees them."""
