"""What can be done to an account, each act once. HTTP and command line are skins over it."""
