"""Where strokes go on a surface."""
