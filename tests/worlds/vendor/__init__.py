"""Stand-ins of a vendor's services, as far as real clients need them; `server` is run on a host of a test network."""
