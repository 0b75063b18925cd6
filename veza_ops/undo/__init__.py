"""The undo: what a cleanup marked goes back to processing where its file is there."""
