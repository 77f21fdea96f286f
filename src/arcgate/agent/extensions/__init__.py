"""The process extd: fetches, installs, runs and removes extensions, as state/extensions.json says."""
