"""What operators call, by their admin keys."""
