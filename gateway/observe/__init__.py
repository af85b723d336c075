"""What the operator sees of a running gateway: metrics, logs, traces, health. See the README beside this file."""
