"""`make bench`: what the gateway costs a call, beside nothing and beside nginx, on this machine."""
