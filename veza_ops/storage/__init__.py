"""Veza's files: the only place that looks at them."""
