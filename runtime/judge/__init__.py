"""One released set, judged with a holdout that was set aside by lot: copies, the collection, use, a policy."""
