"""Veza's database: the only place that speaks to it."""
