"""The web UI as an operator uses it, in a real browser."""
