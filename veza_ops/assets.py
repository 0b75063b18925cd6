"""What the runs watch over, so that its history can be seen: the tracks table as an asset."""

import dagster as dg

TRACKS = dg.AssetSpec(
    "tracks",
    description="Veza's tracks table. Every cleanup observes it: how many tracks were stale, and what became of them.",
    kinds={"postgres"},
)
