"""A payment provider to try things with: Xendit's paths, and no money."""
