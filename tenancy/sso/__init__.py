"""Single sign-on: whose domains they are."""
