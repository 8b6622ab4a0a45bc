"""Data sets without decoding images: users' files, records of files that were read, sizes of sets."""
