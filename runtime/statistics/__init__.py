"""What scores say, and how surely: ROC reading, bootstrap intervals, epsilon lower bounds, null controls."""
