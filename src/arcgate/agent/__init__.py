"""The agent on each machine: `azcmagent`, `himdsd` (identity, heartbeat, goal) and `arcproxyd` (traffic)."""
