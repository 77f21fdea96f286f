"""A whole system on this machine, on loopback, with temporary state: for trying, demonstrating and testing."""
