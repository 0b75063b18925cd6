"""History: old runs are forgotten."""
