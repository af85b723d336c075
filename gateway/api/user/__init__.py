"""What users and their frontends call, about their own accounts."""
