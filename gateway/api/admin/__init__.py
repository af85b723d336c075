"""What operators do by HTTP, each with an admin key that has the scope for it."""
