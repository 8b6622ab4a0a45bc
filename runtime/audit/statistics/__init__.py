"""What scores say, and how surely: ROC reading, intervals, epsilon lower bounds, null controls."""
