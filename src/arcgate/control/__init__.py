"""The control plane: ARM API, sign-in, agent service, machine authority, audit store, in one application."""
