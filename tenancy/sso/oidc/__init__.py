"""Speaks OpenID Connect with identity providers: allauth's protocol, with what it leaves open closed."""
