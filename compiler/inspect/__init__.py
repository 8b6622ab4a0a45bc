"""Questions about a plan: summary, explanation, difference, schema, cost, graph."""
