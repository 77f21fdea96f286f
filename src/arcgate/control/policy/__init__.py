"""The policy as operators work on it: explained, proposed from the audit, replayed, and taken back."""
