"""Line-level parts of translation: input lines, splitting and joining, confidence, statistics."""
