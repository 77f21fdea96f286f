"""Protocols as state machines without I/O: they take bytes and give events, and know no sockets or clocks."""
