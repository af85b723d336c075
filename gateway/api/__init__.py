"""What frontends and operators call: HTTP over the acts of `gateway.accounts` and the queries of `gateway.ledger`."""
