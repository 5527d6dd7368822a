"""What training needs of finished datasets: lists of train, val and test patches, their leaks, and the norms."""
