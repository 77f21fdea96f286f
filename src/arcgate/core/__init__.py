"""The pure core: names, addresses, catalogue, policy, routing, audit records and resource models.

Nothing here opens a socket, reads a clock or touches the operating system; import-linter checks that.
"""
