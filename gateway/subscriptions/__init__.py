"""Subscriptions: which plan an account has, for how long, and what follows. Money is not asked for here."""
