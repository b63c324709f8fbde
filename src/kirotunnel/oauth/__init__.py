"""The core login flows' protocols: PKCE, device codes, OpenID Connect, and the dialects of Kiro and of AWS."""
