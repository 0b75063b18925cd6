"""The undo."""
