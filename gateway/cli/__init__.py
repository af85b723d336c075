"""The command line: skins over `gateway.accounts` and `gateway.ledger`, and the commands that start processes."""
