"""The gateway node: front door, admission, tunnels, audit spool, and the watch on the control plane."""
