"""What users and their frontends call: their own balances, usage and licenses."""
