"""Which patches train, validate and test: spatial blocks, the published split, and how far a split leaks."""
