"""Methods that make a synthetic set: a folder for each paradigm, a file for each method or paper; `release` has the contract."""
