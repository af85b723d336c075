"""The worker: drains the ledger's inbox, ends holds whose gateway fell silent. See `worker/README.md`."""
