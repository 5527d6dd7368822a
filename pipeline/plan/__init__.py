"""When: which acquisitions fill which timestep of which patch; pure functions of what was found and surveyed."""
