"""Arc Proxy: the forward proxy on each machine that sends every request its way (`arcproxyd`)."""
