"""Finds or starts what a command works with: config, data folder, Redis, ledger."""
