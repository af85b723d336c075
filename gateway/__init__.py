"""Quotagate's gateway: identify, hold, forward, meter, settle. See `gateway/README.md`."""
