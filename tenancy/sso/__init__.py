"""Single sign-on: whose domains they are, and who signs in by which identity provider."""
