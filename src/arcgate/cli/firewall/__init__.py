"""`arcgate firewall-rules`: what must be open, as firewalls and proxies read it."""
