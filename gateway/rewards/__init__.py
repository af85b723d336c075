"""What is given and not sold: redemption codes, referrals, check-ins, rewards.

Each act is decided once, by a row that cannot be twice, and writes in the same transaction what it gives
(`gateway.accounts.payouts`); the units follow, whatever dies in between.
"""
