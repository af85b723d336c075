"""What tests stand on: servers of their own, a scriptable upstream, a whole system as processes."""
