"""What is given and not sold: redemption codes, referrals, check-ins, rewards."""
