"""Everything about this machine that never enters an id: device, threads, memory, versions, who we are."""
