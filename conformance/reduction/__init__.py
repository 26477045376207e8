"""Delta debugging of a failing model: nodes, dimensions, attributes, values; docs/bundles.md."""
