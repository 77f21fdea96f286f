"""The ARM-compatible API: resources, their long-running operations, roles and errors in ARM's words."""
