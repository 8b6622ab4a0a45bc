"""Who of the images is canary, test, z pool and member."""
