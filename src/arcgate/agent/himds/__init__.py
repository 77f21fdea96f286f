"""himdsd: keeps the machine's identity alive: heartbeat, goal, certificate."""
