"""Which patches train, validate and test: the split as Sen12Landslides published it, and how far a split leaks."""
