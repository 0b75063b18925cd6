"""A code location without anything in it: what Dagster's own processes cost at rest is measured with it."""

import dagster as dg

defs = dg.Definitions()
