"""The only package that speaks to Redis. `lua/README.md` describes the keys and the scripts."""
