"""Sign-in: an OAuth 2.0 / OpenID Connect issuer with client credentials, device codes and refresh tokens."""
