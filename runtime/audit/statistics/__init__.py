"""Statistics of membership scores: rates and areas, intervals, epsilon lower bounds, null controls, tests."""
