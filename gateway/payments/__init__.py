"""Money: orders, the providers that are paid through, and what follows from a payment."""
