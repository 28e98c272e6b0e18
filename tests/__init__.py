"""The tests: the same paths as the code, and architecture, journeys, conformance and benches."""
