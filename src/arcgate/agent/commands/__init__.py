"""The command `azcmagent`."""
