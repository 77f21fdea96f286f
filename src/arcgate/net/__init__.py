"""Thin asyncio I/O that gateway, agent and control plane share: streams, TLS, dialer, resolver, relay, back-off."""
