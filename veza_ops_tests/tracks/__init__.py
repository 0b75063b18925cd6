"""Veza's database, as veza-ops sees it."""
