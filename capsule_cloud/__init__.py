"""The project: wiring, doors to the outside, the data plane and the surfaces that customers use."""
