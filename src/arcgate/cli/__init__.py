"""The operator's command `arcgate`: configuration, the ARM commands, `arcgate serve` and the sandbox."""
